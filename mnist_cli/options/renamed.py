"""Other spellings of options, and options without their value.

The other spellings are hidden from ``--help``; old ones work for one release, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mnist_cli.base.files import from_home
from mnist_cli.config.keys import KEYS
from mnist_cli.config.keys import flag as flag_of

RENAMED: Mapping[str, Mapping[str, str]] = {
    "mnist eval": {"--plots": "--out"},
    "mnist inspect-grad": {"--batch": "--batch-size"},
    "mnist export": {"-f": "--force"},
    "mnist data show": {"--png": "--out"},
    "mnist bench": {"--picture": "--out"},
}
"""By command: its old spellings, and what they are called now."""

NEWEST = "newest"
OPTIONAL: Mapping[str, Mapping[str, str]] = {"mnist train": {"--resume": NEWEST}}
"""By command: options that may have no value, and the value that they mean then."""

_PATHS = frozenset({"dataset", "start"})

_TILDE = re.compile(r"^(--[\w-]+=|-[a-z]|)(~[^/\\]*)")
"""The home folder in an argument: ``~/x``, ``--out=~/x`` or ``-o~/x``."""

ALSO: Mapping[str, str] = {"--normalize": "--normalise"}
"""Spellings that work in every command, without a note."""


def spelled_out(arguments: list[str]) -> list[str]:
    """``mnist help eval`` as ``mnist eval --help``, and ``mnist version`` as ``mnist --version``.

    A ``~`` that shells do not expand, as in ``--out=~/x``, becomes the home folder.
    """
    first, rest = arguments[:1], arguments[1:]
    if first == ["help"]:
        return [*rest, "--help"]
    if first == ["version"]:
        return ["--version", *rest]
    return [_TILDE.sub(lambda found: found[1] + from_home(found[2]), word) for word in arguments]


def renamed(command: str, arguments: list[str]) -> list[str]:
    """What was typed, in the spelling of ``--help``; each old one is noted on stderr."""
    new = list(arguments)
    end = new.index("--") if "--" in new else len(new)
    for place, word in enumerate(new[:end]):
        flag, equals, value = word.partition("=")
        if today := RENAMED.get(command, {}).get(flag):
            from mnist_cli.report.console import note

            note(f"{flag} is now {today}; the old spelling will be removed in the next release")
            new[place] = f"{today}{equals}{value}"
        elif usual := ALSO.get(flag):
            new[place] = f"{usual}{equals}{value}"
    for place in reversed(range(end)):
        bare = place + 1 == len(new) or new[place + 1].startswith("-")
        if bare and (meant := OPTIONAL.get(command, {}).get(new[place])):
            new.insert(place + 1, meant)
    return _swept(new) if command == "mnist sweep" else new


def _swept(words: list[str]) -> list[str]:
    """``--lr 0.1,0.2`` as ``--set lr=0.1,0.2``; paths stay, which may have commas in them."""
    keys = {
        flag: name
        for name, key in KEYS.items()
        if key.option is not None and name not in _PATHS
        for flag in (flag_of(name), key.option.short)
    }
    new = list(words)
    for place, word in reversed(list(enumerate(words))):
        flag, equals, value = word.partition("=")
        if not equals and place + 1 < len(words):
            value = words[place + 1]
        if flag in keys and "," in value:
            new[place : place + (1 if equals else 2)] = ["--set", f"{keys[flag]}={value}"]
    return new
