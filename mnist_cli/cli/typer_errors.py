"""Typer's own errors as this program's: the flag, the value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Literal, get_args, get_origin

import typer

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.keys import KEYS
from mnist_cli.errors import Interrupted, UsageError


def translated(
    error: Exception, program: object, arguments: list[str]
) -> UsageError | Interrupted | None:
    """Typer's errors, which are click's by another name, as ours; None for any other."""
    if isinstance(error, typer.Abort):
        return Interrupted("interrupted")
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            "an argument has characters that this locale cannot represent",
            "Choose a UTF-8 locale, such as LC_ALL=C.UTF-8.",
        )
    show = getattr(error, "format_message", None)
    if show is None or not hasattr(error, "exit_code"):
        return None
    message = _bad_value(error) or show().rstrip(".")
    path = _path(program, arguments)
    message, hint = _meant(error, message, path, arguments)
    return UsageError(message, f"{hint} See `{path} --help`.".lstrip())


def _meant(error: Any, message: str, path: str, arguments: list[str]) -> tuple[str, str]:
    """The message without Typer's own guess, and a hint at what was probably meant."""
    from mnist_cli.cli import hints

    command = getattr(getattr(error, "ctx", None), "command", None)
    if command is None:
        return message, ""
    if option := getattr(error, "option_name", "") if "No such option" in message else "":
        alone = message.partition(" (Possible options")[0]
        return alone, hints.about_option(option, arguments, command)
    if found := re.match(r"No such command '(.+?)'", message):
        known = getattr(command, "commands", {})
        return found[0], hints.about_command(found[1], path, known)
    if found := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)", message):
        return message, hints.about_words(found[1].split(" "), arguments, command)
    return message, ""


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty value: as a path it would be the current folder.

    A script writes one when a variable is not set, as in ``--dataset "$DATA"``.

    Raises:
        UsageError: names the option, if it is one's value.
    """
    before = ""
    for word in arguments:
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and equals and not value:
            before, word = flag, ""
        if not word:
            option = before.startswith("-") and before != "--"
            which = f"{before}: the value" if option else "an argument"
            raise UsageError(f"{which} is empty", "Give a value, or omit it.")
        before = word


def refuse_one_dash(arguments: Sequence[str], parameters: Sequence[Any], path: str) -> None:
    """Refuse ``-seed 3``, which would mean ``-s eed 3``: a long option has two dashes.

    Raises:
        UsageError: names both spellings.
    """
    flags = {flag for one in parameters for flag in (*one.opts, *one.secondary_opts)}
    for word in takewhile(lambda word: word != "--", arguments):
        flag = word.partition("=")[0]
        if len(flag) > 2 and flag not in flags and f"-{flag}" in flags:
            raise UsageError(
                f"No such option: {flag}", f"Did you mean -{flag}? See `{path} --help`."
            )


def _named(option: Any, error: Any) -> str:
    """The option's flag, or the environment's variable if the value comes from there."""
    context = getattr(error, "ctx", None)
    source = context and context.get_parameter_source(option.name)
    if getattr(source, "name", "") == "ENVIRONMENT":
        return str(option.envvar)
    return str(max(option.opts, key=len))


def _path(command: object, arguments: list[str]) -> str:
    """The command that was called, as ``mnist data show``."""
    words = ["mnist"]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _bad_value(error: Exception) -> str:
    """The fault of an option's value, in the words that the configuration has for its keys.

    Typer judges by pydantic since 0.29, and its message then names neither the value nor what is
    allowed. Empty for another Typer or another fault.
    """
    from pydantic import ValidationError

    from mnist_cli.config.messages import complaint, number, permitted

    option, cause = getattr(error, "param", None), error.__cause__
    if option is None or not isinstance(cause, ValidationError):
        return ""
    flag, first = _named(option, error), cause.errors(include_url=False)[0]
    kind = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    if get_origin(kind) is Literal:
        words, value = get_args(kind), str(first["input"])
        guess = did_you_mean(value, words)
        return f"{flag}: should be one of {', '.join(words)}, not {value!r}. {guess}".rstrip(". ")
    unbounded = getattr(option, "min", None) is None and getattr(option, "max", None) is None
    if unbounded and option.name in KEYS:
        return f"{flag}: {complaint(first, permitted(option.name))}"
    return f"{flag}: {complaint(first, number(whole=kind is int, ge=option.min, le=option.max))}"
