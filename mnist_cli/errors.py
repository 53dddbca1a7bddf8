"""The errors that the program expects; each class has its own exit code.

Any other exception is a bug: exit code 1, with its traceback. The tree begins in the gradient
library, which imports nothing else of the program.
"""

from __future__ import annotations

from mnist_cli.autograd.error_tree import DataError as DataError
from mnist_cli.autograd.error_tree import DependencyError as DependencyError
from mnist_cli.autograd.error_tree import ExpectedError
from mnist_cli.autograd.error_tree import NonFiniteError as NonFiniteError
from mnist_cli.autograd.error_tree import NumericsError as NumericsError
from mnist_cli.autograd.error_tree import OutputError as OutputError
from mnist_cli.autograd.error_tree import ReplayMismatch as ReplayMismatch
from mnist_cli.autograd.error_tree import UsageError as UsageError
from mnist_cli.autograd.error_tree import first_line as first_line

MnistError = ExpectedError
"""Any expected failure."""


class OwnCodeError(UsageError):
    """The user's own code raised an error, which is the cause."""


class DeviceError(UsageError):
    """A device or precision that was named and is not available."""

    kind = "device"


class CheckpointError(MnistError):
    """A checkpoint that is missing, damaged, hostile or of another program."""

    code = 4
    kind = "checkpoint"


class ResumeMismatch(NumericsError):
    """A resumed run differs from the uninterrupted one."""

    kind = "resume"


class ExportMismatch(NumericsError):
    """The outputs of an exported file differ from the network's."""

    kind = "export"


class DamagedError(DataError):
    """A file of data is cut off, or its parts contradict each other."""

    def __init__(self, message: str, hint: str = "Download it again, or write it again.") -> None:
        super().__init__(message, hint)


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
    """A signal stopped the program, in an orderly way.

    ``signal`` is its number; 0 if it is not known.
    """

    signal: int = 0


class Interrupted(Stopped):
    """SIGINT, as Ctrl-C sends it."""

    code = 130
    kind = "interrupted"


class Terminated(Stopped):
    """SIGTERM, as ``kill`` and batch schedulers send it."""

    code = 143
    kind = "terminated"


class Caution(UserWarning):
    """A warning of this program, a Python warning. The command line prints it in one line."""


def error_class(kind: str) -> type[MnistError]:
    """The class with this ``kind``, as another process names it; else :class:`MnistError`."""
    classes: list[type[MnistError]] = [MnistError]
    for one in classes:
        if one.kind == kind:
            return one
        classes += one.__subclasses__()
    return MnistError
