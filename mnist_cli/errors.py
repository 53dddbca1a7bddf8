"""Every failure that the program expects, each with its documented exit code.

::

    MnistError
    ├── UsageError            2   a flag, key or value that makes no sense, or your own network fails
    │   ├── DeviceError       2   a device that was asked for and is not available
    │   └── DependencyError   2   a package that this command needs is not installed
    ├── DataError             3   data missing, damaged, or not what they claim to be
    ├── CheckpointError       4   a checkpoint missing, damaged, hostile or foreign
    ├── OutputError           5   disk full, read-only, directory or port in use
    ├── NumericsError         6   a figure that cannot be trusted
    │   ├── NonFiniteError    6   the loss is no longer finite
    │   ├── ReplayMismatch    6   a replayed gradient differs from autograd's
    │   ├── ResumeMismatch    6   a resumed run differs from the one never stopped
    │   └── ExportMismatch    6   an exported file answers otherwise than its network
    ├── OutOfMemory           7   the device's memory is too small for the batch
    ├── RankError             1   a process that shares the run is gone, or runs something else
    │   └── RankTimeout       1   one that does not answer
    └── Stopped                   asked to stop from outside
        ├── Interrupted     130   SIGINT (Ctrl-C)
        └── Terminated      143   SIGTERM

Anything else that escapes is a bug: exit code 1, with its traceback.

This module imports nothing, so that everything may import it.
"""

from __future__ import annotations


class MnistError(Exception):
    """An expected failure: what went wrong with which thing, and the way out.

    Args:
        message: names the thing and the cause, as one sentence without a full stop.
        hint: what the user can do about it, as one sentence; may be empty.
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
    """A flag, a configuration key or a value that makes no sense."""

    code = 2
    kind = "usage"


class DeviceError(UsageError):
    """A device or precision that was asked for by name and is not available."""

    kind = "device"


class DependencyError(UsageError):
    """A package that this command needs is not installed, or does not fit the others."""

    kind = "dependency"


class DataError(MnistError):
    """Data that are missing, damaged, or not what they claim to be."""

    code = 3
    kind = "data"


class CheckpointError(MnistError):
    """A checkpoint that is missing, damaged, hostile or made for something else."""

    code = 4
    kind = "checkpoint"


class OutputError(MnistError):
    """It cannot be used: disk full, read-only, or in use by another run or program."""

    code = 5
    kind = "output"


class NumericsError(MnistError):
    """A figure that cannot be trusted."""

    code = 6
    kind = "numerics"


class NonFiniteError(NumericsError):
    """The loss or a gradient is no longer finite; in training ``step`` counts from 0."""

    kind = "non-finite"
    step: int | None = None


class ReplayMismatch(NumericsError):
    """A gradient replayed by hand differs from the one that autograd computed."""

    kind = "replay"


class ResumeMismatch(NumericsError):
    """A run stopped and resumed did not end with the bits of the one never stopped."""

    kind = "resume"


class ExportMismatch(NumericsError):
    """What was exported does not answer as the network does."""

    kind = "export"


class OutOfMemory(MnistError):
    """The device has too little memory for what was asked.

    ``fits`` is a batch size that was tried and fits; None where none was tried, or none fits.
    """

    code = 7
    kind = "memory"
    fits: int | None = None


class RankError(MnistError):
    """A process that shares the run's work is gone, or runs something else."""

    kind = "rank"


class RankTimeout(RankError):
    """A process that shares the run's work does not answer."""

    kind = "rank-timeout"


class Stopped(MnistError):
    """Asked to stop from outside, and stopped in good order."""


class Interrupted(Stopped):
    """SIGINT, as Ctrl-C sends it."""

    code = 130
    kind = "interrupted"


class Terminated(Stopped):
    """SIGTERM, as ``kill`` and batch schedulers send it."""

    code = 143
    kind = "terminated"


class Caution(UserWarning):
    """What the user must not miss, from where nothing may be printed: give it to ``warnings.warn``.

    The command line prints it as one line; a library user sees and filters it as any warning.
    """


def error_class(kind: str) -> type[MnistError]:
    """The class whose ``kind`` this is, as another process names it; else :class:`MnistError`."""
    classes: list[type[MnistError]] = [MnistError]
    for one in classes:
        if one.kind == kind:
            return one
        classes += one.__subclasses__()
    return MnistError
