"""What is said of a configuration that is refused: the place, the value, and what is allowed.

Knows no key by name: whoever validates passes the keys and what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_BETWEEN = "\0"
"""Parts key and message in the text of a contradiction."""

_NOT_A_NUMBER = frozenset(
    f"{kind}_{failure}"
    for kind in ("int", "float")
    for failure in ("parsing", "parsing_size", "type", "from_float")
) | {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}
"""What pydantic calls it where a value is no number, or not within its bounds."""


def conflict(key: str, message: str) -> ValueError:
    """A contradiction of ``key`` with others, as a validator raises it for :func:`explain`."""
    return ValueError(f"{key}{_BETWEEN}{message}")


def unknown_key(key: str, place: str, keys: Sequence[str]) -> UsageError:
    """A key that is none of ``keys``, given at ``place``."""
    return UsageError(
        f"{_at(place)}unknown key '{key}'",
        f"{did_you_mean(key, keys)} The keys are {', '.join(keys)}.",
    )


def explain(
    error: ValidationError, origin: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> UsageError:
    """The first thing that validation found, as a message that names place, value and meaning.

    Args:
        error: what pydantic raised.
        origin: by key, the place that its value came from; a default's has none.
        fields: by key, what it means and may be.
    """
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        key, message = str(first["ctx"]["error"]).split(_BETWEEN, 1)
        return UsageError(f"{_naming(key, origin)}{message}")
    key = str(first["loc"][0])
    field = fields[key]
    return UsageError(
        f"{_naming(key, origin)}{complaint(first, permitted(field))}",
        f"{key} means: {field.description}.",
    )


def complaint(details: ErrorDetails, allowed: str) -> str:
    """What pydantic found wrong with one value, as ``should be …, not …``.

    Args:
        details: its first error.
        allowed: what may stand there, where that is a number or told by a pattern.
    """
    should = details["msg"].replace("Input should", "should")
    if details["type"] in _NOT_A_NUMBER or details["type"] == "string_pattern_mismatch":
        should = f"should be {allowed}"
    elif details["type"] in ("bool_parsing", "bool_type"):
        should = "should be true or false"
    elif len(details["loc"]) > 1:  # of auto and a truth, pydantic tells of the first alone
        should = "should be auto, true or false"
    return f"{should}, not {details['input']!r}"


def permitted(field: FieldInfo) -> str:
    """What a key's value may be: a number and its bounds, or else what its description says."""
    kinds = {field.annotation, *get_args(field.annotation)}
    if not kinds & {int, float}:
        return field.description or ""
    bounds = {
        name: getattr(bound, name)
        for bound in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(bound, name)
    }
    return number(whole=int in kinds, **bounds)


def number(
    *,
    whole: bool,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> str:
    """A number within bounds in words, as ``a whole number from 1 to 20``."""
    kind = "a whole number" if whole else "a number"
    if ge is not None and le is not None:
        return f"{kind} from {_figure(ge)} to {_figure(le)}"
    words = {"at least": ge, "above": gt, "at most": le, "below": lt}
    bounds = [f"{word} {_figure(bound)}" for word, bound in words.items() if bound is not None]
    within = " and ".join(bounds)
    return f"{kind} of {within}" if within.startswith("at") else f"{kind} {within}".rstrip()


def _figure(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _naming(key: str, origin: Mapping[str, str]) -> str:
    """Place and key; a flag or ``--set`` names its key already."""
    place = origin.get(key, "")
    return _at(place) if place.startswith("--") else f"{_at(place)}{key}: "


def _at(place: str) -> str:
    return f"{place}: " if place else ""
