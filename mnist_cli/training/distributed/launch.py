"""Starts the ranks of a run on this machine, one process each, and waits until they end.

The ranks meet in a file, so the launcher listens on no port. It imports no torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

from mnist_cli.base.cores import cores
from mnist_cli.base.process import again
from mnist_cli.base.signals import StopRequest, stop_on_signals
from mnist_cli.errors import Interrupted, MnistError, RankError, RankTimeout, Stopped, Terminated
from mnist_cli.training.distributed import failures
from mnist_cli.training.distributed.rank_environment import FOLDER, LAUNCHER, resume_file

GRACE = 30.0
"""Seconds that ranks have to end by themselves, after a rank has ended or a signal has come."""
POLL = 0.1
ASKED = (-signal.SIGTERM, Terminated.code)
"""Exit codes of a rank that the launcher stopped before the rank could save."""


def launch(arguments: Sequence[str], ranks: int) -> None:
    """Run this program with ``arguments`` as several ranks, to their end.

    ``arguments`` are the command line after the program's name. The first signal (SIGINT, SIGTERM,
    SIGHUP, SIGUSR1) lets the ranks save and end. A second SIGINT kills them.

    Raises:
        Stopped: a signal came; the ranks have saved and ended, or have been killed.
        MnistError: a rank failed; its own error, with its own exit code.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mnist-ranks-") as name,
        stop_on_signals(_interrupt) as stop,
    ):
        folder = Path(name)
        with _started(arguments, ranks, folder) as processes:
            ended = _wait(processes, stop)
        if ended[0] == 0:
            return  # it has reported the result; how the others ended changes nothing
        raise _stopped(folder, stop) if stop else _failed(folder, ended)


def _interrupt() -> None:
    raise Interrupted("interrupted")


@contextlib.contextmanager
def _started(
    arguments: Sequence[str], ranks: int, folder: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The ranks' processes; those still running at the end are killed.

    Each has its own session: a Ctrl-C at the terminal reaches only the launcher.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(ranks):
            environment = _environment(rank, ranks, folder)
            processes.append(
                subprocess.Popen(again(*arguments), env=environment, start_new_session=True)
            )
        yield processes
    finally:
        _kill(processes)


def _environment(rank: int, ranks: int, folder: Path) -> dict[str, str]:
    """The variables that torchrun would set for this rank, and our own."""
    return {
        "OMP_NUM_THREADS": str(max(cores() // ranks, 1)),
        **os.environ,
        **{"RANK": str(rank), "WORLD_SIZE": str(ranks)},
        **{"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks)},
        **{FOLDER: str(folder), LAUNCHER: str(os.getpid())},
        failures.ERROR_FILE: str(folder / f"{rank}.json"),
    }


def _wait(processes: Sequence[subprocess.Popen[bytes]], stop: StopRequest) -> dict[int, int]:
    """Wait until all ranks have ended; stop the others if one fails or a signal comes.

    Rank 0 ends last by itself. Ranks that are stopped (SIGSTOP) or hang are killed.

    Returns:
        The exit codes by rank, in the order in which the ranks ended.
    """
    ended: dict[int, int] = {}
    deadline = None
    while len(ended) < len(processes):
        codes = enumerate([process.poll() for process in processes])
        ended |= {rank: code for rank, code in codes if code is not None and rank not in ended}
        failed = any(ended.values())
        if deadline is None and (stop or failed or 0 in ended):
            deadline = monotonic() + GRACE
            if stop or failed:
                _ask_to_stop(processes, stop)
        if deadline is not None and monotonic() > deadline:
            _kill(processes)
        sleep(POLL)
    return ended


def _ask_to_stop(processes: Sequence[subprocess.Popen[bytes]], stop: StopRequest) -> None:
    number = signal.SIGINT if stop.signal == signal.SIGINT else signal.SIGTERM
    for process in processes:
        process.send_signal(number)  # does nothing if the process has ended


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill the ranks that still run; the data loader's workers end with their rank."""
    for process in processes:
        process.kill()  # does nothing if the process has ended
        process.wait()


def _stopped(folder: Path, stop: StopRequest) -> MnistError:
    """The message of a rank that has saved, if there is one."""
    errors = [failure.as_error() for failure in failures.read(folder)]
    saved = next((one for one in errors if isinstance(one, Stopped) and one.hint), None)
    name = "interrupted" if stop.signal == signal.SIGINT else "terminated"
    return stop.error(saved.message, saved.hint) if saved else stop.error(name)


def _failed(folder: Path, ended: Mapping[int, int]) -> MnistError:
    """The failure that came first, judging by the ranks' error files and exit codes."""
    ranks, found = len(ended), failures.read(folder)
    resume = resume_file(folder)
    go_on = f"Resume with: {resume.read_text(encoding='utf-8')}" if resume.is_file() else ""
    for failure in found:
        if failure.kind == "internal":
            who = f"rank {failure.rank} of {ranks} failed unexpectedly"
            return MnistError(f"{who}: {failure.message}", go_on)
        if not failure.consequence:
            return failure.as_error()
    silent = [rank for rank in ended if ended[rank] and rank not in {one.rank for one in found}]
    if found:
        silent = [rank for rank in silent if ended[rank] not in ASKED]
    if silent:
        who = f"rank {silent[0]} of {ranks}"
        if any(failure.kind == RankTimeout.kind for failure in found):
            return RankTimeout(f"{who} did not answer and was killed, so the run ended", go_on)
        return RankError(f"{who} {_end_of(ended[silent[0]])}, so the run ended", go_on)
    first = found[0].as_error()
    first.hint = first.hint or go_on
    return first


def _end_of(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
