"""Short text for large objects: a terminal or a notebook prints whatever a line returns.

Imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

SHOWN = 8
"""Items that the text of a :class:`Brief` shows."""
LONGEST = 120
"""Characters of a name or word; a name may come from anywhere."""


class Brief(tuple[T, ...]):
    """A tuple that prints its first items, one a line, and the number of the others."""

    def __repr__(self) -> str:
        lines = [shortened(repr(item), 4 * LONGEST) for item in self[:SHOWN]]
        more = [f"… and {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        return "\n".join([*lines, *more]) or "()"


def visible(text: object) -> str:
    """Text with every control, formatting or unassigned character written as an escape.

    Names may come from anywhere. A newline would break a line format, an ANSI sequence would
    control the terminal, and a bidirectional override would show another name. XML cannot hold
    most of them.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def shortened(word: object, most: int = LONGEST) -> str:
    """Text of at most ``most`` characters, all of them visible."""
    text = visible(word)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def sizes(shape: Sequence[int]) -> str:
    """``16×8`` for (16, 8); "scalar" without dimensions."""
    return shortened("×".join(map(str, shape)) or "scalar")


def listed(words: Iterable[object], separator: str = ", ") -> str:
    """The first few words, and the number of the others."""
    every = list(words)
    more = [f"… {len(every) - SHOWN:,} more"] if len(every) > SHOWN else []
    return separator.join([*map(shortened, every[:SHOWN]), *more])
