"""Starts the ranks of a run on this machine, through torch's own launcher, bound to loopback.

The launcher (torch.distributed.elastic, what torchrun is made of) starts a process for each rank,
watches them, passes signals on, and ends all when one fails. Its own meeting places listen on
every network interface; ours, :class:`_Loopback`, on 127.0.0.1 alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mnist_cli.base.cores import cores
from mnist_cli.base.process import again
from mnist_cli.errors import (
    Interrupted,
    MnistError,
    RankError,
    RankTimeout,
    Stopped,
    Terminated,
)
from mnist_cli.training.distributed import failures
from mnist_cli.training.distributed.rank_environment import STATUS, Status

BACKEND = "mnist-loopback"
GRACE = 30
"""Seconds that ranks have to end in good order before they are killed, at most."""
POLL = 0.2
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
"""Windows has neither; there no ranks are started (place.check_system)."""
STATUS_FILE = "status.json"


@dataclass
class _Loopback(RendezvousHandler):
    """A meeting place for the ranks of one machine, which nobody can reach from another."""

    store: TCPStore
    run_id: str

    @property
    def use_agent_store(self) -> bool:
        """The ranks use this store too."""
        return True

    def get_backend(self) -> str:
        """The name that it is registered by."""
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        """The launcher is the only one to come."""
        here = RendezvousStoreInfo("127.0.0.1", self.store.port)
        return RendezvousInfo(PrefixStore("launcher", self.store), 0, 1, here)

    def is_closed(self) -> bool:
        """It is open as long as the launcher lives."""
        return False

    def set_closed(self) -> None:
        """Nobody else could come."""

    def num_nodes_waiting(self) -> int:
        """Nobody else could come."""
        return 0

    def get_run_id(self) -> str:
        """The run's name among the launcher's."""
        return self.run_id

    def shutdown(self) -> bool:
        """The store ends with the process."""
        return True


def _listen(parameters: RendezvousParameters) -> _Loopback:
    """A meeting place on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    store = TCPStore(
        "127.0.0.1",
        listener.getsockname()[1],
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=GRACE),
        master_listen_fd=listener.detach(),
    )
    return _Loopback(store, parameters.run_id)


def launch(arguments: Sequence[str], ranks: int, *, patience: float) -> None:
    """Run this program with ``arguments`` as so many ranks, to their end.

    Args:
        arguments: the command line after the program's name.
        ranks: how many processes.
        patience: seconds that ranks wait for each other.

    Raises:
        Stopped: a signal came; the ranks have ended in good order, or have been killed.
        MnistError: a rank failed; its own error, with its own exit code.
    """
    _prepare_environment(ranks)
    with tempfile.TemporaryDirectory(prefix="mnist-ranks-") as name:
        folder = Path(name)
        os.environ[STATUS] = str(folder / STATUS_FILE)
        try:
            with _signals_heard(folder), _no_rank_left_behind(folder, min(GRACE, patience)):
                _elastic(folder, ranks)(*again(*arguments)[1:])
        except SignalException as error:
            _finish_stopped(folder, error)
        except ChildFailedError as error:
            if not Status.read(folder / STATUS_FILE).done:  # else only its end went wrong
                raise _failed(folder, error, ranks) from error
        finally:
            del os.environ[STATUS]


def _prepare_environment(ranks: int) -> None:
    """What the ranks inherit, apart from what the user's environment says already."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores() // ranks, 1)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of what we tell in our words
    log = logging.getLogger("torch.distributed.elastic")
    log.addHandler(logging.NullHandler())
    log.propagate = False


def _elastic(folder: Path, ranks: int) -> elastic_launch:
    rendezvous_handler_registry.register(BACKEND, _listen)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend=BACKEND,
        rdzv_endpoint="127.0.0.1",
        run_id="mnist",
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        signals_to_handle="SIGQUIT",  # the others are heard by _signals_heard
    )
    return elastic_launch(config, sys.executable)


def _finish_stopped(folder: Path, error: SignalException) -> None:
    """Say how the ranks stopped; nothing where they had just ended by themselves."""
    if Status.read(folder / STATUS_FILE).done:
        return
    kind = Interrupted if error.sigval.name == "SIGINT" else Terminated
    told = [one.as_error() for one in failures.read(folder)]
    words = next((one for one in told if isinstance(one, Stopped) and one.hint), None)
    raise kind(words.message, words.hint) if words else kind(kind.kind) from error


def _failed(folder: Path, error: ChildFailedError, ranks: int) -> MnistError:
    """What the ranks' end follows from, by what they left and by how they ended."""
    told = failures.read(folder)
    resume = Status.read(folder / STATUS_FILE).resume
    go_on = f"Resume with: {resume}" if resume else ""
    for failure in told:
        if failure.kind == "internal":
            who = f"rank {failure.rank} of {ranks} failed unexpectedly"
            return MnistError(f"{who}: {failure.message}", go_on)
        if not failure.consequence:
            return failure.as_error()
    silent = [rank for rank in error.failures if rank not in {one.rank for one in told}]
    if silent:
        rank = min(silent, key=lambda rank: error.failures[rank].timestamp)
        who = f"rank {rank} of {ranks}"
        if any(failure.kind == RankTimeout.kind for failure in told):
            return RankTimeout(f"{who} did not answer and was killed, so the run ended", go_on)
        return RankError(f"{who} {_end_of(error.failures[rank])}, so the run ended", go_on)
    first = told[0].as_error()
    first.hint = first.hint or go_on
    return first


def _end_of(process: ProcessFailure) -> str:
    if process.exitcode < 0:
        return f"was killed by {process.signal_name()}"
    return f"ended with exit code {process.exitcode}"


@contextlib.contextmanager
def _no_rank_left_behind(folder: Path, grace: float) -> Iterator[None]:
    """Kill ranks that have not ended ``grace`` seconds after one has told its failure, or the end.

    torch's launcher does so after 30 seconds, whatever it is told, and never after the end. A
    stopped process (SIGSTOP) hears nothing else.
    """
    ended = threading.Event()

    def over() -> set[int]:
        """The ranks that have said how it went, and end by themselves."""
        told = {failure.rank for failure in failures.read(folder)}
        return told | {0} if Status.read(folder / STATUS_FILE).done else told

    def watch() -> None:
        while not over():
            if ended.wait(POLL):
                return
        if not ended.wait(grace):
            _kill_ranks(folder, spared=over())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _kill_ranks(folder: Path, spared: Collection[int] = ()) -> None:
    """Kill the ranks that have said which processes they are."""
    for path in folder.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            rank, pid = int(path.stem), int(path.read_text(encoding="utf-8"))
            if rank not in spared and _is_child(pid):
                os.kill(pid, KILL)


def _is_child(pid: int) -> bool:
    """Whether a number is still that of a process that this one has started."""
    if sys.platform == "win32":
        return True
    if not hasattr(os, "waitid"):  # macOS has it since Python 3.13
        return True
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it has ended, and the number may be another's by now
        return False
    return True


@contextlib.contextmanager
def _signals_heard(folder: Path) -> Iterator[None]:
    """Let the first signal end the ranks in good order; a second Ctrl-C kills them and leaves.

    SIGHUP counts as SIGTERM. One that is ignored stays so, as with one process: nohup and a
    shell's background mean the ranks to go on.
    """
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        if heard and number == signal.SIGINT:
            _kill_ranks(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(Interrupted.code)
        if not heard:
            heard.append(number)
            passed_on = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
            raise SignalException(f"signal {number}", passed_on)

    before = {
        number: signal.signal(number, hear)
        for number in (signal.SIGINT, signal.SIGTERM, HANGUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
