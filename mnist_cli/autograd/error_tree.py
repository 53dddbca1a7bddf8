"""The errors that the library expects; any other exception is a bug.

The program around this library adds its own errors to this tree (``mnist_cli.errors``). This module
imports nothing.
"""

from __future__ import annotations


class ExpectedError(Exception):
    """An expected failure.

    Args:
        message: names the thing and the cause, in one sentence without a full stop.
        hint: what the user can do, in one sentence; may be empty.

    Attributes:
        code: the exit code of a program that fails with it.
        kind: its name in a document for other programs.
    """

    code = 1
    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint.strip()

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ExpectedError):
    """A wrong option, configuration key or value, or an error in the user's own network."""

    code = 2
    kind = "usage"


class DependencyError(UsageError):
    """A package that is needed is missing, or does not match the other packages."""

    kind = "dependency"


class DataError(ExpectedError):
    """Data that are missing, damaged, or of another kind than claimed."""

    code = 3
    kind = "data"


class OutputError(ExpectedError):
    """Failed output: disk full, read-only, or a folder or port that is in use."""

    code = 5
    kind = "output"


class NumericsError(ExpectedError):
    """A non-finite or inexact number."""

    code = 6
    kind = "numerics"


class NonFiniteError(NumericsError):
    """The loss or a gradient is not finite; ``step`` is the training step, from 0."""

    kind = "non-finite"
    step: int | None = None


class ReplayMismatch(NumericsError):
    """A replayed gradient differs from the one that autograd computed."""

    kind = "replay"


def first_line(error: BaseException) -> str:
    """The first line of an error's message; without a message, the name of its type."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
