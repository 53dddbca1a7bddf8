"""The command line that a shell completes, as shells hand it over to Typer."""

from __future__ import annotations

import os

_KEY = "COMP_SETTING"
"""The variable that holds what a shell has split off before an equals sign."""


def completed_words() -> list[str]:
    """The whole words of the command line that a shell completes, without the program's name.

    Shells hand it over in one of Typer's two variables.
    """
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    words = line.split()[1:]
    return words if len(words) > 1 or line[-1:].isspace() else []


def join_assignments() -> None:
    """Take bash's ``=`` out of ``--option = value``, and put ``key = value`` of ``--set`` together.

    bash splits both at the equals sign, and completes the value alone.
    """
    separator = "\n"
    words = os.environ.get("COMP_WORDS", "").split(separator)
    place = os.environ.get("COMP_CWORD", "")
    if not place.isdecimal():
        return
    last = int(place)
    signs = [
        at
        for at in range(1, min(last, len(words)))
        if words[at] == "=" and words[at - 1].startswith("--")
    ]
    kept = [word for at, word in enumerate(words) if at not in signs]
    kept, last = _with_settings(kept, last - len(signs))
    os.environ.update(COMP_WORDS=separator.join(kept), COMP_CWORD=str(last))


def _with_settings(words: list[str], last: int) -> tuple[list[str], int]:
    """The words with each ``--set key = value`` as two of them, and the place of the completed one.

    If that is a value, its key goes to :func:`key_typed`: an answer must begin as the word does.
    """
    for sign in range(last, 2, -1):
        if words[sign : sign + 1] == ["="] and words[sign - 2] in ("--set", "-s"):
            has_value = sign < last and not words[sign + 1].startswith("--")
            end = sign + 1 + has_value
            setting = ["".join(words[sign - 1 : end])]
            if end > last:
                os.environ[_KEY] = words[sign - 1]
                setting = words[last : last + 1]
            words = [*words[: sign - 1], *setting, *words[end:]]
            last -= end - sign
    return words, last


def key_typed() -> str:
    """The key of ``--set`` whose value is completed, if the shell has split it off; else empty."""
    return os.environ.get(_KEY, "")
