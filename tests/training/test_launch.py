"""What the launcher does with signals, failures and ranks that do not end; and how ranks end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from program import alive, one_thread, wait_until

from mnist_cli.base import process
from mnist_cli.base.signals import Termination
from mnist_cli.errors import DataError, MnistError, RankError, RankTimeout, Terminated
from mnist_cli.training.distributed import failures, group, launch, one_rank
from mnist_cli.training.distributed.rank_environment import RankPlace

if sys.platform != "linux":
    pytest.skip("tried on Linux only", allow_module_level=True)

RANK = """
import os, signal, sys, time
from mnist_cli import errors
from mnist_cli.training.distributed import failures, rank_environment

place = rank_environment.rank_place_of()
place.write_resume("mnist train --resume 1")

def fail(error, code=1):
    failures.write(error)
    os._exit(code)

def say(words):
    os.write(1, f"{words}\\n".encode())

def wait_for(name):
    while not os.path.exists(f"{place.folder}/{name}"):
        time.sleep(0.01)

def hang():
    open(f"{place.folder}/hanging", "w").close()
    os.kill(os.getpid(), signal.SIGSTOP)

def until_asked(then):
    signal.signal(signal.SIGTERM, then)
    time.sleep(100)

wait_for("resume")
GONE = errors.RankError("another rank is gone")
exec(sys.argv[1 + place.rank])
"""
"""A stand-in for a rank, which runs one of the command line's scripts."""
WAIT = "until_asked(lambda *_: fail(GONE))"
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
HANGS = "hang()"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "again", lambda *scripts: [sys.executable, "-c", RANK, *scripts])
    monkeypatch.setattr(launch, "GRACE", 0.5)


FAILURES: dict[str, tuple[list[str], type[MnistError], str, str]] = {
    "killed": (
        *([WAIT, KILLED], RankError, "rank 1 of 2 was killed by SIGKILL, so the run ended"),
        "Resume with: mnist train --resume 1",
    ),
    "ended": (
        *([WAIT, "os._exit(9)"], RankError, "rank 1 of 2 ended with exit code 9, so the run ended"),
        "Resume with: mnist train --resume 1",
    ),
    "stopped": (
        ["wait_for('hanging'); fail(errors.RankTimeout('no answer'))", HANGS],
        RankTimeout,
        *("rank 1 of 2 did not answer and was killed, so", "Resume with: mnist train --resume 1"),
    ),
    "a bug": (
        *([WAIT, "fail(ValueError('x'))"], MnistError),
        *("rank 1 of 2 failed unexpectedly: ValueError: x", "Resume with: mnist train --resume 1"),
    ),
    "an expected failure": (
        *([WAIT, "fail(errors.DataError('no images', 'Find some.'))"], DataError),
        *("no images", "Find some."),
    ),
    "only consequences": (
        *(["fail(GONE)", "time.sleep(100)"], RankError, "another rank is gone"),
        "Resume with: mnist train --resume 1",
    ),
    "a rank terminated": (
        ["fail(errors.Terminated('stopped', 'Go on.'), 143)"] * 2,
        *(Terminated, "stopped", "Go on."),
    ),
}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("case", FAILURES)
def test_the_first_failure_is_raised(case: str) -> None:
    scripts, kind, message, hint = FAILURES[case]
    with pytest.raises(MnistError) as caught:
        launch.launch(scripts, 2)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("other", [KILLED, HANGS, "time.sleep(100)"])
def test_what_goes_wrong_once_all_is_done_spoils_nothing(other: str) -> None:
    launch.launch(["os._exit(0)", other], 2)


def test_a_failure_is_written_as_torchrun_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    assert not failures.write(DataError("nobody asks"), {})
    assert failures.write(DataError("no images", "Find some."), {failures.ERROR_FILE: str(path)})
    (found,) = failures.read(tmp_path)
    assert (found.rank, str(found.as_error())) == (1, "no images\nFind some.")
    assert json.loads(path.read_text())["message"]["message"] == "no images"


LAUNCHER = """
import sys
from mnist_cli import errors
from mnist_cli.training.distributed import launch

launch.again = lambda *scripts: [sys.executable, "-c", sys.argv[1], *scripts]
hears = '''
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: say(signal.Signals(number).name))
say(os.getpid())
while True:
    time.sleep(100)
'''
try:
    launch.launch([hears, hears], 2)
except errors.MnistError as error:
    sys.exit(error.code)
"""


@pytest.mark.parametrize(
    ("first", "passed_on"),
    [(signal.SIGHUP, "SIGTERM"), (signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")],
)
def test_a_second_ctrl_c_kills_the_ranks_and_leaves(
    tmp_path: Path, first: signal.Signals, passed_on: str
) -> None:
    """The first signal is passed on to the ranks, once."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, RANK],
        stdout=subprocess.PIPE,
        text=True,
        env=one_thread(TMPDIR=str(tmp_path)),
    ) as launcher:
        assert launcher.stdout is not None
        ranks = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.send_signal(first)
        assert [launcher.stdout.readline().strip() for _ in ranks] == [passed_on] * 2
        launcher.send_signal(signal.SIGTERM)
        launcher.send_signal(signal.SIGINT)
        assert (launcher.communicate(timeout=30)[0], launcher.returncode) == ("", 130)
    assert not list(tmp_path.iterdir())
    wait_until(lambda: not any(map(alive, ranks)))


class _LeftError(BaseException):
    """Instead of the process's end without cleanup; holds the exit code."""


@pytest.fixture(autouse=True)
def _leave_by_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> NoReturn:
        raise _LeftError(code)

    monkeypatch.setattr(one_rank, "leave", leave)
    monkeypatch.setattr(process, "leave", leave)
    monkeypatch.setattr(one_rank, "_be_quiet", lambda: None)
    monkeypatch.setattr(process, "_leaves_at_end", False)
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Termination, 143)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_interrupted_ends_without_cleanup(
    rank: int, stop: type[KeyboardInterrupt], code: int
) -> None:
    place = RankPlace(rank, 2, rank, 2, "/nowhere/store", "/nowhere", os.getppid())
    with pytest.raises(_LeftError, match=str(code)), one_rank.as_rank(place):
        raise stop


def test_rank_0_of_torchrun_first_reports_what_interrupted_it() -> None:
    with pytest.raises(Termination), one_rank.as_rank(RankPlace(0, 2, 0, 2, "127.0.0.1:1")):
        raise Termination


def test_a_rank_that_tried_to_meet_the_others_ends_without_cleanup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_arguments: object) -> NoReturn:
        raise RankError("nobody came")

    monkeypatch.setattr(group, "choose_network", lambda _place: None)
    monkeypatch.setattr(group, "_meet", refused)
    with pytest.raises(RankError), group.joined(RankPlace(0, 2, 0, 2, "127.0.0.1:1"), 1):
        pytest.fail("it met somebody")
    with pytest.raises(_LeftError, match="143"):
        process.end(143)


def test_any_other_process_ends_with_cleanup() -> None:
    with pytest.raises(SystemExit) as ended:
        process.end(3)
    assert ended.value.code == 3
