"""The errors that the program expects; each class has its own exit code.

Any other exception is a bug: exit code 1, with its traceback. This module imports nothing, so
every module can import it.
"""

from __future__ import annotations


class MnistError(Exception):
    """An expected failure.

    Args:
        message: names the thing and the cause, in one sentence without a full stop.
        hint: what the user can do, in one sentence; may be empty.

    Attributes:
        code: the exit code.
        kind: the name of the error in the document of ``--json``.
    """

    code = 1
    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint.strip()

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(MnistError):
    """A wrong option, configuration key or value, or an error in the user's own network."""

    code = 2
    kind = "usage"


class OwnCodeError(UsageError):
    """The user's own code raised an error, which is the cause."""


class DeviceError(UsageError):
    """A device or precision that was named and is not available."""

    kind = "device"


class DependencyError(UsageError):
    """A package that the command needs is missing, or does not match the other packages."""

    kind = "dependency"


class DataError(MnistError):
    """Data that are missing, damaged, or of another kind than claimed."""

    code = 3
    kind = "data"


class CheckpointError(MnistError):
    """A checkpoint that is missing, damaged, hostile or of another program."""

    code = 4
    kind = "checkpoint"


class OutputError(MnistError):
    """Failed output: disk full, read-only, or a folder or port that is in use."""

    code = 5
    kind = "output"


class NumericsError(MnistError):
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


class ResumeMismatch(NumericsError):
    """A resumed run differs from the uninterrupted one."""

    kind = "resume"


class ExportMismatch(NumericsError):
    """The outputs of an exported file differ from the network's."""

    kind = "export"


class OutOfMemory(MnistError):
    """The device does not have enough memory.

    ``fits`` is a batch size that was tried and fits; None if none was tried, or none fits.
    """

    code = 7
    kind = "memory"
    fits: int | None = None


class RankError(MnistError):
    """A process that shares the run has ended, or runs something else."""

    kind = "rank"


class RankTimeout(RankError):
    """A process that shares the run does not answer."""

    kind = "rank-timeout"


class Stopped(MnistError):
    """A signal stopped the program, in an orderly way."""


class Interrupted(Stopped):
    """SIGINT, as Ctrl-C sends it."""

    code = 130
    kind = "interrupted"


class Terminated(Stopped):
    """SIGTERM, as ``kill`` and batch schedulers send it."""

    code = 143
    kind = "terminated"


class Caution(UserWarning):
    """A warning for the user from library code, which must not print: for ``warnings.warn``.

    The command line prints it in one line.
    """


def error_class(kind: str) -> type[MnistError]:
    """The class whose ``kind`` this is, as another process names it; else :class:`MnistError`."""
    classes: list[type[MnistError]] = [MnistError]
    for one in classes:
        if one.kind == kind:
            return one
        classes += one.__subclasses__()
    return MnistError
