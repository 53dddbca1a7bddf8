"""What the launcher of the ranks does with signals, leftovers and ranks that do not end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from program import one_thread, wait_until
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mnist_cli.base import process
from mnist_cli.base.signals import Termination
from mnist_cli.commands import shared_run
from mnist_cli.errors import DataError, RankError
from mnist_cli.training.distributed import failures, group, launch
from mnist_cli.training.distributed.rank_environment import Place, Status

if sys.platform != "linux":
    pytest.skip("tried on Linux only", allow_module_level=True)

ASLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that stands for a rank."""
    child = subprocess.Popen(ASLEEP)
    yield child
    child.kill()
    child.wait()


def place_in(folder: Path, rank: int = 0) -> Place:
    return Place(rank, 2, rank, 2, "127.0.0.1:1", str(folder / "status.json"))


def test_only_children_are_killed(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A number may be another process's by now, and a file half written."""
    for name, text in (("0", sleeper.pid), ("1", os.getpid()), ("2", "12x"), ("x", sleeper.pid)):
        (tmp_path / f"{name}.pid").write_text(str(text))
    launch._kill_ranks(tmp_path)
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not launch._is_child(sleeper.pid)  # it has been waited for


def test_a_rank_that_ends_no_more_is_killed_once_all_is_done(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / "1.pid").write_text(str(sleeper.pid))
    (tmp_path / "0.pid").write_text(str(os.getpid()))
    with launch._no_rank_left_behind(tmp_path, 0):
        Status("", done=True).write(place_in(tmp_path))
        assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("done", [True, False])
def test_what_goes_wrong_once_all_is_done_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, done: bool
) -> None:
    def end_badly(folder: Path, _ranks: int) -> NoReturn:
        Status("mnist train --resume 1", done).write(place_in(folder))
        failure = ProcessFailure(local_rank=1, pid=0, exitcode=-9, error_file="<N/A>")
        raise ChildFailedError("mnist", {1: failure})

    monkeypatch.setattr(launch, "_elastic", end_badly)
    if done:
        launch.launch([], 2, patience=1)
        return
    with pytest.raises(RankError, match="rank 1 of 2 was killed by SIGKILL") as caught:
        launch.launch([], 2, patience=1)
    assert caught.value.hint == "Resume with: mnist train --resume 1"


def test_a_failure_that_is_half_written_is_passed_over(tmp_path: Path) -> None:
    whole = tmp_path / "1" / "error.json"
    for rank, text in enumerate(['{"code": 3, "ki', "", "[]", '{"code": 3}']):
        path = tmp_path / "half" / str(rank) / "error.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    whole.parent.mkdir()
    assert failures.write(DataError("no images", "Find some."), {failures.ERROR_FILE: str(whole)})
    (found,) = failures.read(tmp_path)
    assert (found.rank, found.code, str(found.as_error())) == (1, 3, "no images\nFind some.")
    assert (
        json.loads(whole.read_text())["message"]["message"] == "no images"
    )  # as torchrun reads it


LAUNCHER = """
import subprocess, sys, time
from pathlib import Path
from mnist_cli.training.distributed import launch

folder = Path(sys.argv[1])
rank = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
(folder / "0.pid").write_text(str(rank.pid))
with launch._signals_heard(folder):
    try:
        print(rank.pid, flush=True)
        time.sleep(100)
    except launch.SignalException as error:
        print(error.sigval.name, flush=True)
        time.sleep(100)  # as torch's launcher waits for the ranks then
"""


@pytest.mark.parametrize(
    ("first", "passed_on"),
    [(signal.SIGHUP, "SIGTERM"), (signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")],
)
def test_a_second_ctrl_c_kills_the_ranks_and_leaves(
    tmp_path: Path, first: signal.Signals, passed_on: str
) -> None:
    folder = tmp_path / "ranks"
    folder.mkdir()
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, folder],
        stdout=subprocess.PIPE,
        text=True,
        env=one_thread(),
    )
    assert launcher.stdout is not None
    rank = int(launcher.stdout.readline())
    for number, said in ((first, passed_on), (signal.SIGTERM, ""), (signal.SIGINT, "")):
        launcher.send_signal(number)
        if said:
            assert launcher.stdout.readline().strip() == said
    said = launcher.communicate(timeout=30)[0]
    assert (launcher.returncode, said) == (130, "")
    assert not folder.exists()
    wait_until(lambda: not _runs(rank))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_so(tmp_path: Path, number: signal.Signals) -> None:
    """As nohup sees to it, or a shell of its jobs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with launch._signals_heard(tmp_path):
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


class _LeftError(BaseException):
    """Instead of the process's end."""


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def leave(code: int) -> NoReturn:
        codes.append(code)
        raise _LeftError

    monkeypatch.setattr(shared_run, "leave", leave)
    monkeypatch.setattr(process, "leave", leave)
    monkeypatch.setattr(shared_run, "_be_quiet", lambda: None)
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    return codes


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Termination, 143)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_interrupted_ends_without_tidying_up(
    left: list[int], tmp_path: Path, rank: int, stop: type[KeyboardInterrupt], code: int
) -> None:
    with pytest.raises(_LeftError), shared_run.as_rank(place_in(tmp_path, rank)):
        raise stop
    assert left == [code]
    assert (tmp_path / f"{rank}.pid").read_text() == str(os.getpid())
    assert not list(tmp_path.glob("*.half"))


def test_rank_0_of_torchrun_says_first_what_interrupted_it(left: list[int]) -> None:
    with pytest.raises(Termination), shared_run.as_rank(Place(0, 2, 0, 2, "127.0.0.1:1")):
        raise Termination
    assert not left


def test_a_rank_that_tried_to_meet_the_others_ends_without_tidying_up(
    left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> NoReturn:
        raise RankError("nobody came")

    monkeypatch.setattr(process, "_leaves_at_end", False)
    monkeypatch.setattr(group, "choose_network", lambda _place: None)
    monkeypatch.setattr(group, "_meet", refused)
    with pytest.raises(RankError), group.joined(Place(0, 2, 0, 2, "127.0.0.1:1"), 1):
        pytest.fail("it met somebody")
    with pytest.raises(_LeftError):
        process.end(143)
    assert left == [143]


def test_a_rank_whose_launcher_has_left_does_not_begin(left: list[int], tmp_path: Path) -> None:
    with pytest.raises(_LeftError), shared_run.as_rank(place_in(tmp_path / "gone")):
        pytest.fail("it began")
    assert left == [143]


def test_no_process_but_a_rank_ends_so(left: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_leaves_at_end", False)
    with pytest.raises(SystemExit) as ended:
        process.end(3)
    assert ended.value.code == 3
    assert not left
