"""The command line that a shell completes, as shells hand it over to Typer."""

from __future__ import annotations

import os


def completed_words() -> list[str]:
    """The whole words of the command line that a shell completes, without the program's name.

    Shells hand it over in one of Typer's two variables.
    """
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    words = line.split()[1:]
    return words if len(words) > 1 or line[-1:].isspace() else []


def join_assignments() -> None:
    """Take bash's ``=`` out of ``--option = value``, which Typer knows as two words.

    bash splits ``--option=value`` at the equals sign, and completes the value alone.
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
    os.environ.update(COMP_WORDS=separator.join(kept), COMP_CWORD=str(last - len(signs)))
