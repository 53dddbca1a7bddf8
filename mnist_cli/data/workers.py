"""The worker processes of a DataLoader: their start, signals and end."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import queues
from multiprocessing.context import BaseContext

import torch

from mnist_cli.base.process import looks_here
from mnist_cli.base.signals import NUMBERS, ignore_signals
from mnist_cli.devices.kinds import kind_of
from mnist_cli.errors import DataError

PRELOADED = ["mnist_cli.data.batches", "torchvision.transforms", "PIL.Image"]
"""Modules that a fork server imports once, to save each of its workers seconds."""
SOCKET = "/pymp-xxxxxxxx/listener-xxxxxxxx"
"""The path that multiprocessing appends to the folder for temporary files."""
SOCKET_NAME = 107 if sys.platform == "linux" else 103
"""Maximum number of bytes of a socket's path."""
SAFE_PATH = "PYTHONSAFEPATH"

_PATIENCE = 1.0
"""Seconds to wait for torch to report that a worker has died."""


def start_method(device: torch.device) -> str:
    """The start method of worker processes: ``fork``, ``forkserver`` or ``spawn``.

    Python's default depends on its version; that of 3.14 imports torch in each worker. A fork
    takes milliseconds. It is safe on Linux without CUDA: a worker computes on one thread and needs
    no lock that another thread of the main process may hold. CUDA and NCCL have their own threads,
    and system libraries of macOS do not survive a fork.
    """
    if sys.platform != "linux":
        return "spawn"
    return "fork" if kind_of(device).fork_safe else "forkserver"


def context(device: torch.device) -> BaseContext:
    """The multiprocessing context that starts workers for ``device``; see :func:`start_method`.

    Raises:
        DataError: the workers could not send their batches.
    """
    _check_temporary_folder()
    atexit.register(_end)
    method = start_method(device)
    if method == "forkserver":
        _start_fork_server()
    return multiprocessing.get_context(method)


def _check_temporary_folder() -> None:
    """Refuse a path that is too long for a socket: the first batch would never arrive."""
    folder = tempfile.gettempdir()
    longest = SOCKET_NAME - len(os.fsencode(SOCKET))
    if os.name == "posix" and len(os.fsencode(folder)) > longest:
        raise DataError(
            f"the path of the temporary directory is too long for worker sockets: {folder}",
            f"Set TMPDIR to a path of at most {longest} bytes, or load in the main process (workers = 0).",
        )


def _start_fork_server() -> None:
    """Start the fork server, unless it runs; it then imports the modules that workers need.

    By default, Python lets it look for modules in the working directory first, which may hold a
    stranger's ``torch.py``.
    """
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(PRELOADED)
    before = os.environ.get(SAFE_PATH)
    if not looks_here():
        os.environ[SAFE_PATH] = "1"
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop(SAFE_PATH, None)
        if before is not None:
            os.environ[SAFE_PATH] = before


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Block signals in the processes that start in the block, for as long as they live.

    The main process receives pending signals at the end of the block. Windows has no such mask;
    there, only :func:`ignore_signals` protects the workers.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(_worker: int) -> None:
    """Prepare a worker process, which runs this first: it ignores signals and ends on errors.

    Ctrl-C and a scheduler's SIGTERM reach every process of the group, but the main process needs
    its workers to finish the batch. Workers end at its request, when it ends, or by :func:`_end`.
    """
    ignore_signals()
    queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]


def _end_worker(error: BaseException, _batch: object) -> None:
    """End the worker whose thread failed to send a batch, with the cause on stderr.

    Without this, multiprocessing prints a traceback and continues, and the batch never arrives.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"a worker cannot send a batch: {error}\n".encode(errors="replace"))
    os._exit(1)


def _end() -> None:
    """Kill the workers that an error left behind, when the process ends.

    An error's traceback can hold the DataLoader, which then does not stop its workers. At exit,
    multiprocessing would send them SIGTERM, which they ignore, and wait for them for ever.
    """
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if not left:
        return
    if hasattr(signal, "SIGCHLD"):  # torch's handler would report an error
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in left:
        child.kill()


@contextlib.contextmanager
def explain_broken_connection() -> Iterator[None]:
    """Report the death of a worker if the connection to it breaks in the block.

    torch reports it too, from its handler of SIGCHLD, but a moment later. It would interrupt the
    code that deals with the broken connection, so this waits for the report. torch has no such
    handler on Windows and in threads other than the main one.

    Raises:
        DataError: the connection broke.
        RuntimeError: torch's report.
    """
    try:
        yield
    except (ConnectionError, EOFError) as error:
        time.sleep(_PATIENCE)  # the signal ends the sleep
        raise _death(str(error) or "the connection to it ended") from error


@contextlib.contextmanager
def explain_dead_worker() -> Iterator[None]:
    """Turn torch's error about a dead worker into ours, wherever it is raised.

    torch raises it from a signal handler, in the middle of a step as well as in the loader.

    Raises:
        DataError: a worker died, or failed.
    """
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        if "DataLoader worker" not in str(error):
            raise
        if lines[0].startswith("Caught "):  # the worker lives, and reports its own error
            raise DataError(
                f"a worker process of the DataLoader failed: {lines[-1]}",
                "Use fewer workers, or loader = device.",
            ) from error
        raise _death(lines[0]) from error


def _death(how: str) -> DataError:
    return DataError(
        f"a worker process of the DataLoader died: {how}",
        "If no cause is shown above, it may have run out of memory. Use fewer workers, or "
        "loader = device.",
    )
