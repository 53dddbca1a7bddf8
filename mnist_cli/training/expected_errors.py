"""Turns exceptions that no command has explained into expected errors.

Imports torch only where it is loaded already: without it, only Python itself runs out of memory.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator

from mnist_cli.base.packages import explain_import
from mnist_cli.errors import MnistError, OutputError, OwnCodeError
from mnist_cli.networks.source import blamed, reason


def expected(error: BaseException) -> MnistError | None:
    """The expected error that any exception stands for.

    Returns:
        An :class:`MnistError` unchanged. An error with a code and a hint if memory ran out, the
        user's own file failed, an optional package is missing or the system failed. None for a
        bug.
    """
    if isinstance(error, MnistError):
        return error
    if known := _shortage(error) or blamed(error) or explain_import(error):
        return known
    return explain(error) if isinstance(error, OSError) else None


def explain(error: OSError) -> OutputError:
    """The :class:`OutputError` for a failure of the system; without a path it was stdout's."""
    if error.filename is None and error.errno == errno.ENOENT:  # no folder for temporary files
        return OutputError(error.strerror or str(error))
    if error.filename is None:
        return OutputError(f"cannot write the output: {error.strerror or error}")
    return OutputError(f"cannot use {error.filename}: {error.strerror}")


def _shortage(error: BaseException) -> MnistError | None:
    """The error for memory that ran out; None for any other error."""
    if "torch" not in sys.modules and not isinstance(error, MemoryError):
        return None
    from mnist_cli.devices.memory import explained, is_out_of_memory

    if not is_out_of_memory(error):
        return None
    shortage = explained(error, 0)
    shortage.__cause__ = error  # for its traceback
    return shortage


@contextlib.contextmanager
def attributed(what: str, doing: str, hint: Callable[[], str]) -> Iterator[None]:
    """Attribute an error of torch in the block to the user's network, which has passed its trial.

    Errors of the user's own lines and of the system, and a lack of memory, pass unchanged.

    Args:
        what: the network, for messages.
        doing: what fails, such as "fails in the backward pass".
        hint: gives the suggested fix, once it is needed.

    Raises:
        OwnCodeError: with the first line of torch's reason.
    """
    try:
        yield
    except (MnistError, OSError, ImportError):
        raise
    except Exception as error:
        if _shortage(error) or blamed(error):
            raise
        raise OwnCodeError(f"{what} {doing}: {reason(error)}", hint()) from error
