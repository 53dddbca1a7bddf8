"""What is said of a configuration that is refused: the place, the value, and what is allowed.

Knows no key by name: whoever validates passes the keys and what they mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from mnist_cli.errors import UsageError

_BETWEEN = "\0"
"""Parts key and message in the text of a contradiction."""


def conflict(key: str, message: str) -> ValueError:
    """A contradiction of ``key`` with others, as a validator raises it for :func:`explain`."""
    return ValueError(f"{key}{_BETWEEN}{message}")


def unknown_key(key: str, place: str, keys: Sequence[str]) -> UsageError:
    """A key that is none of ``keys``, given at ``place``."""
    near = difflib.get_close_matches(key, keys, n=1)
    return UsageError(
        f"{_at(place)}unknown key '{key}'",
        (f"Did you mean '{near[0]}'? " if near else "") + f"The keys are {', '.join(keys)}.",
    )


def explain(
    error: ValidationError, origin: Mapping[str, str], meanings: Mapping[str, str]
) -> UsageError:
    """The first thing that validation found, as a message that names place, value and meaning.

    Args:
        error: what pydantic raised.
        origin: by key, the place that its value came from; a default's has none.
        meanings: by key, what it means and may be.
    """
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        key, message = str(first["ctx"]["error"]).split(_BETWEEN, 1)
        return UsageError(f"{_naming(key, origin)}{message}")
    key = str(first["loc"][0])
    message = first["msg"].replace("Input should", "should")
    if first["type"] == "string_pattern_mismatch":
        message = f"should be {meanings[key]}"
    return UsageError(
        f"{_naming(key, origin)}{message}, not {first['input']!r}",
        f"{key} means: {meanings[key]}.",
    )


def _naming(key: str, origin: Mapping[str, str]) -> str:
    """Place and key; a flag or ``--set`` names its key already."""
    place = origin.get(key, "")
    return _at(place) if place.startswith("--") else f"{_at(place)}{key}: "


def _at(place: str) -> str:
    return f"{place}: " if place else ""
