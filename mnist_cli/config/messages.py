"""The messages for a configuration that is refused: the place, the value, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.choices import DEVICES
from mnist_cli.config.keys import KEYS, is_truth, kinds, words
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_BETWEEN = "\0"
"""Parts the keys and the message in the text of a contradiction."""

_NOT_A_NUMBER = frozenset(
    f"{kind}_{failure}"
    for kind in ("int", "float")
    for failure in ("parsing", "parsing_size", "type", "from_float")
) | {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}
"""Pydantic's names for a value that is not a number, or not within its bounds."""


def conflict(key: str, message: str, other: str = "") -> ValueError:
    """A contradiction of ``key`` with ``other``, as a validator raises it for :func:`explain`.

    Without ``other``, the value of ``key`` alone is at fault.
    """
    return ValueError(_BETWEEN.join([key, other, message]))


def unknown_key(key: str, place: str) -> UsageError:
    """A key that does not exist, given at ``place``."""
    guess = did_you_mean(key, KEYS)
    return UsageError(
        f"{_at(place)}unknown key '{key}'",
        f"{guess} `mnist config show` lists the keys."
        if guess
        else f"The keys are {', '.join(KEYS)}.",
    )


def explain(error: ValidationError, origin: Mapping[str, str]) -> UsageError:
    """The first fault that validation found, as a message that names place, value and meaning.

    Args:
        error: what pydantic raised.
        origin: by key, the place that its value came from; a default has none.
    """
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        key, other, message = str(first["ctx"]["error"]).split(_BETWEEN, 2)
        if _is_typed(other, origin) and not _is_typed(key, origin):
            return _typed_contradiction(key, other, message, origin)
        return UsageError(f"{_naming(key, origin)}{message}")
    key = str(first["loc"][0])
    known = words(key) or (DEVICES if key == "device" else ())
    return UsageError(
        f"{_naming(key, origin)}{complaint(first, permitted(key))}",
        did_you_mean(str(first["input"]), known) if known else f"{key}: {KEYS[key].help}",
    )


def _typed_contradiction(
    key: str, other: str, message: str, origin: Mapping[str, str]
) -> UsageError:
    """What was typed for ``other`` contradicts ``key`` of a file, which can be switched off."""
    typed = origin[other]
    dash, false = ("--set ", "false") if typed.startswith("--") else ("", "False")
    off = f"{dash}{key}={false if is_truth(key) else 0}"
    return UsageError(
        f"{typed} contradicts {key} in {origin[key]}: {message}", f"Add {off}, or omit {typed}."
    )


def complaint(details: ErrorDetails, allowed: str) -> str:
    """What pydantic found wrong with one value, as ``should be …, not …``.

    Args:
        details: its first error.
        allowed: what the value may be, if it is a number or matches a pattern.
    """
    should = details["msg"].replace("Input should", "should")
    if details["type"] in _NOT_A_NUMBER or details["type"] == "string_pattern_mismatch":
        should = f"should be {allowed}"
    elif details["type"] in ("bool_parsing", "bool_type"):
        should = "should be true or false"
    elif len(details["loc"]) > 1:  # of auto, true and false, pydantic names the first alone
        should = "should be auto, true or false"
    return f"{should}, not {details['input']!r}"


def _naming(key: str, origin: Mapping[str, str]) -> str:
    """Place and key; a flag, ``--set`` or an argument of the same name names its key already."""
    at = _at(origin.get(key, ""))
    return at if _is_typed(key, origin) else f"{at}{key}: "


def _is_typed(key: str, origin: Mapping[str, str]) -> bool:
    """Whether the key's value comes from a flag, ``--set`` or an argument of its name."""
    place = origin.get(key, "")
    return place.startswith("--") or (place != "" and place == key)


def _at(place: str) -> str:
    return f"{place}: " if place else ""


def permitted(name: str) -> str:
    """The value of a key in words: ``a whole number from 1 to 20``, or the words it may be."""
    key = KEYS[name]
    if {int, float} & set(kinds(name)):
        return number(whole=int in kinds(name), ge=key.ge, gt=key.gt, le=key.le, lt=key.lt)
    listed = words(name) or (key.option.metavar if key.option else "").split("|")
    return ", ".join(listed)


def number(
    *,
    whole: bool,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> str:
    """A number within bounds in words: ``a whole number from 1 to 20``.

    Args:
        whole: whether it is an integer.
        ge: the least number; ``gt`` excludes the bound itself.
        gt: see ``ge``.
        le: the greatest number; ``lt`` excludes the bound itself.
        lt: see ``le``.
    """
    kind = "a whole number" if whole else "a number"
    if ge is not None and le is not None:
        return f"{kind} from {_figure(ge)} to {_figure(le)}"
    words = {"at least": ge, "above": gt, "at most": le, "below": lt}
    bounds = [f"{word} {_figure(bound)}" for word, bound in words.items() if bound is not None]
    within = " and ".join(bounds)
    return f"{kind} of {within}" if within.startswith("at") else f"{kind} {within}".rstrip()


def _figure(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
