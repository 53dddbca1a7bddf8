"""A graph as a file, in the format that the name's ending stands for.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.autograd.error_tree import OutputError, UsageError
from mnist_cli.autograd.folding import MANY, readable
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import FORMATS, Format
from mnist_cli.autograd.render.picture import Direction

ENDINGS = {
    **{f".{one.extension}": one.name for one in FORMATS.values()},
    **{".htm": "html", ".gv": "dot", ".mermaid": "mermaid"},
}
"""The format of each ending."""

WHOLE = ("json", "text")
"""The formats that hold a graph of any size; in the others a large one is made smaller."""


@dataclass(frozen=True)
class SavedFile(os.PathLike[str]):
    """A file that was written; usable as a path.

    ``note`` says what part of the graph it shows; empty for the whole graph.
    """

    path: Path
    note: str = ""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{self.path} ({self.note})" if self.note else str(self.path)


def save(
    graph: GradGraph,
    path: str | os.PathLike[str],
    *,
    direction: Direction = "down",
    order: Sequence[int] | None = None,
) -> SavedFile:
    """Write a graph as a page, a picture, JSON, DOT, Mermaid or text.

    Args:
        graph: the graph, recorded or only walked.
        path: its ending is one of :data:`ENDINGS`.
        direction: of the forward pass in pictures, "down" or "right".
        order: ids in the order of a replay's calls, for the page.

    Returns:
        The file. A picture of more than :data:`~mnist_cli.autograd.folding.MANY` nodes is folded
        by module; the picture and ``note`` say so.

    Raises:
        UsageError: the ending stands for no format.
        OutputError: the file cannot be written. No part of it is left.
    """
    file = Path(path)
    chosen = _format(file)
    shown, note = (graph, "") if chosen.name in WHOLE else readable(graph, MANY)
    text = chosen.render(shown, direction=direction, order=None if note else order)
    _replace(file, text.encode())
    return SavedFile(file, note)


def _format(file: Path) -> Format:
    name = ENDINGS.get(file.suffix.lower())
    if name is None:
        why = (
            f"its ending {file.suffix} stands for no format" if file.suffix else "it has no ending"
        )
        raise UsageError(f"cannot save {file}: {why}", f"Use one of {', '.join(ENDINGS)}.")
    return FORMATS[name]


def _replace(file: Path, content: bytes) -> None:
    """Write beside the file, then take its name: it is the old one or the new one, whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        cause = getattr(error, "strerror", None) or str(error)
        hint = "Choose a file in a folder that exists and can be written."
        raise OutputError(f"cannot write {file}: {cause}", hint) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
