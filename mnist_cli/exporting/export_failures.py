"""Why a network cannot be exported, in one line: exporters raise pages of text."""

from __future__ import annotations

import re

from mnist_cli.errors import UsageError
from mnist_cli.exporting.classifier import CaptureError
from mnist_cli.exporting.formats import FORMATS, Format
from mnist_cli.networks.source import own_line

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OPERATOR = re.compile(r"op='([\w.:]+)'")
_DATA_DEPENDENT = re.compile(r"data.?dependent", re.IGNORECASE)


class NotExportable(UsageError):
    """A network that a format cannot hold.

    Attributes:
        impossible: names of the formats that cannot hold it, as far as it is known.
        any_batch: whether it fails because the number of images is not fixed.
    """

    impossible: frozenset[str] = frozenset()
    any_batch = False


def not_exportable(error: Exception, label: str, chosen: Format) -> NotExportable:
    """Turn the error of an exporter into one that names the operator or line that caused it."""
    causes = _chain(error)
    reason = next(filter(None, map(_reason, reversed(causes))), type(error).__name__)
    where = next(filter(None, map(own_line, causes)), "")
    failure = NotExportable(
        f"the network '{label}' cannot be exported as {chosen.title}: "
        + (f"{where}: {reason}" if where else reason)
    )
    failure.any_batch = any("Constraints violated" in str(one) for one in causes)
    failure.impossible = frozenset({chosen.name})
    if isinstance(error, CaptureError):
        failure.impossible = frozenset(one.name for one in FORMATS.values() if one.program)
    return failure


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from."""
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found


def _reason(error: BaseException) -> str:
    """The cause in a line; empty if the error has no text."""
    text = _ESCAPES.sub("", str(error))
    name = type(error).__name__
    if "Constraints violated" in text:
        return "it computes differently for another number of images"
    if _DATA_DEPENDENT.search(f"{name} {text}"):
        return "a Python number or branch depends on the values of the images"
    if operator := _OPERATOR.search(text):
        return f"torch has no ONNX conversion of {operator[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.endswith(":")), "".join(lines[:1]))
    return f"{name}: {first:.200}" if first else ""
