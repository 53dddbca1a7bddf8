"""Runs this process as one of several ranks: silent unless it leads. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from mnist_cli.base.process import abandon_stdout, leave
from mnist_cli.base.signals import Termination
from mnist_cli.errors import Interrupted, MnistError, Terminated
from mnist_cli.training.distributed import failures
from mnist_cli.training.distributed.rank_environment import RankPlace
from mnist_cli.training.expected_errors import expected


@contextlib.contextmanager
def as_rank(place: RankPlace) -> Iterator[None]:
    """Silence this rank unless it leads, and leave a failure for the launcher.

    The process ends here, unless the caller must report the failure.
    """
    # torch is imported inside: its own warnings about ranks repeat our messages
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    launched, speaks = bool(place.folder), place.rank == 0
    if not speaks:
        _be_quiet()
    try:
        yield
        sys.stdout.flush()  # leave() would ignore that it cannot be written
        leave(0)
    except KeyboardInterrupt as stop:  # before or after training: the launcher got the signal too
        if not launched and speaks:
            raise
        leave(Terminated.code if isinstance(stop, Termination) else Interrupted.code)
    except BrokenPipeError:  # nobody reads stdout any more: not a failure
        if not launched:
            raise
        abandon_stdout()
        leave(0)
    except (Exception, SystemExit) as error:  # a network of the user's own may call sys.exit()
        if known := expected(error):
            written = failures.write(known)
            if written and (launched or not speaks):
                leave(known.code)
            sys.stderr = sys.__stderr__
            known.message = known.message if speaks else f"rank {place.rank}: {known.message}"
            raise
        sys.stderr = sys.__stderr__
        if failures.write(error) and launched:
            traceback.print_exc()
            leave(MnistError.code)
        raise


def _be_quiet() -> None:
    """Print nothing more, on either stream."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stderr = nowhere
