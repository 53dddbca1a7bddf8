"""Shell completion: the command line as shells hand it over to Typer, and what completes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from mnist_cli import catalogue
from mnist_cli.api.places import RUNS
from mnist_cli.config import choices, keys

_KEY = "COMP_SETTING"
"""The environment variable with the key of ``--set``, if the shell splits words at equals signs."""


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

    If that is a value, its key goes to :data:`_KEY`: an answer must begin as the word does.
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


WORDS: Mapping[str, Sequence[str]] = {
    "dataset": ("auto", *catalogue.names()),
    "model": choices.MODELS,
    "device": choices.DEVICES,
}
"""By key, words that complete its value, where :func:`mnist_cli.config.keys.words` names none."""


def complete(words: Sequence[str]) -> Any:
    """Shell completion among fixed words."""

    def matching(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return matching


def complete_list(words: Sequence[str]) -> Any:
    """Shell completion of the last of several words between commas."""

    def matching(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        left = [word for word in words if word not in before.split(",")]
        return [f"{before}{comma}{word}" for word in left if word.startswith(last)]

    return matching


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Shell completion of runs by number or name, newest first; the shell itself completes paths.

    The runs are those under ``--runs``, if it comes before, or else of the default folder. A name
    stands with its number; without it only once its first letters are typed.
    """
    from mnist_cli.runs.directory import run_name, run_number

    with contextlib.suppress(OSError):
        found = (path for path in Path(context.params.get("runs") or RUNS).iterdir())
        visible = [path for path in found if run_number(path) and not path.name.startswith(".")]
        runs = sorted(visible, key=run_number, reverse=True)
        names = [word for path in runs for word in (str(run_number(path)), path.name)]
        if incomplete:
            names += dict.fromkeys(run_name(path) for path in runs)
        return [name for name in names if name.startswith(incomplete)]
    return []


def complete_assignments(*, several: bool = False) -> Any:
    """Shell completion of ``KEY=VALUE``: of the key, then among the words that its value may be.

    Where one key is left that has words, they are offered with it, so that no shell ends the word
    after the equals sign.

    Args:
        several: whether the value may be several ones between commas.
    """

    def matching(context: typer.Context, incomplete: str) -> list[str]:
        if split_off := os.environ.get(_KEY):
            return _values(context, split_off, incomplete, several=several)
        typed, equals, value = incomplete.partition("=")
        if equals:
            found = _values(context, typed, value, several=several)
            return [f"{typed}={word}" for word in found]
        names = [name for name in keys.KEYS if name.startswith(typed)]
        if len(names) == 1 and names[0] != "start":
            words = _words(names[0])
            return [f"{names[0]}={word}" for word in words or ("",)]
        return [f"{name}=" for name in names]

    return matching


def _values(context: typer.Context, typed: str, value: str, *, several: bool) -> list[str]:
    """What completes the value of a key, as it was typed."""
    name = typed.replace("-", "_")
    if name not in keys.KEYS:
        return []
    if name == "start":
        return complete_runs(context, value)
    found: list[str] = (complete_list if several else complete)(_words(name))(value)
    return found


def _words(name: str) -> tuple[str, ...]:
    """The words that a key's value may be."""
    truths = ("true", "false") if keys.is_truth(name) else ()
    return (*WORDS.get(name, keys.words(name)), *truths)
