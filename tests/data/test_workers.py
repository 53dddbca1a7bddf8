"""Worker processes: the same batches however they start, and what befalls them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import queues
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import MOVED, NORMALISATION, batches, batching, same, split
from program import begin, finish, one_thread
from torch.utils.data import Dataset

from mnist_cli.base.signals import StoppedWaiting, stop_on_signals
from mnist_cli.data import workers
from mnist_cli.data.batches import ConventionalLoader, build_loader
from mnist_cli.errors import DataError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


def loader(**values: Any) -> ConventionalLoader:
    made = build_loader(batching("dataloader", **values), split(), NORMALISATION)
    assert isinstance(made, ConventionalLoader)
    return made


OTHERS = set[int | None]()
"""The processes of earlier tests that wait to be collected as garbage."""


@pytest.fixture(autouse=True)
def _count_own() -> None:
    OTHERS.clear()
    OTHERS.update(alive())


def alive() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()} - OTHERS


@pytest.fixture(params=multiprocessing.get_all_start_methods())
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start in this way."""
    monkeypatch.setattr(workers, "start_method", lambda device: request.param)


@pytest.mark.usefixtures("_way")
def test_how_workers_start_changes_nothing() -> None:
    assert same(batches("dataloader", 1, **MOVED, workers=2), batches("dataloader", 1, **MOVED))


def test_workers_live_over_epochs_and_change_nothing_there() -> None:
    """Wherever an epoch begins, and where one is left before its end."""
    made = loader(**MOVED, workers=2)
    assert same(list(made.epoch(0)), batches("dataloader", 0, **MOVED))
    first = alive()
    assert len(first) == 2
    assert same(list(made.epoch(1)), batches("dataloader", 1, **MOVED))
    next(made.epoch(2))
    assert same(list(made.epoch(3, 2)), batches("dataloader", 3, 2, **MOVED))
    assert alive() == first
    made.close()
    assert not alive() & first
    assert same(list(made.epoch(0)), batches("dataloader", 0, **MOVED))
    assert not alive() & first


def test_no_fork_of_a_process_that_uses_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        ways[platform] = [workers.start_method(device) for device in (CPU, GPU)]
    assert ways == {
        "linux": ["fork", "forkserver"],
        "darwin": ["spawn", "spawn"],
        "win32": ["spawn", "spawn"],
    }


def test_more_workers_than_cores_are_no_warning_of_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert same(list(loader(workers=2).epoch(0)), batches("dataloader"))
    assert not [str(warning.message) for warning in caught if "DataLoader" in str(warning.message)]


@pytest.mark.parametrize("kind", [ConnectionResetError, EOFError])
@pytest.mark.parametrize("heard", [True, False])
def test_a_connection_that_breaks_before_its_worker_is_known_to_be_dead(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], heard: bool
) -> None:
    """The death is what is reported, and not in the middle of dealing with the connection.

    Also where torch does not hear of it, as outside the main thread.
    """
    if heard and not hasattr(signal, "SIGCHLD"):
        pytest.skip("torch does not hear of it here")
    monkeypatch.setattr(workers, "_PATIENCE", 3600.0 if heard else 0.0)  # a signal ends the wait
    made = loader(workers=1)
    begin_epoch = made._begin

    def broken() -> Iterator[Any]:
        yield next(begin_epoch())
        if heard:
            (worker,) = alive()
            assert worker is not None
            threading.Timer(0.1, os.kill, (worker, signal.SIGKILL)).start()
        raise kind

    monkeypatch.setattr(made, "_begin", broken)
    with pytest.raises(DataError, match="a worker process of the DataLoader died"):
        list(made.epoch(0))


@pytest.fixture
def root() -> Iterator[str]:
    """A short path, whatever the folder for temporary files is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


@pytest.mark.skipif(os.name != "posix", reason="sockets of POSIX")
def test_a_temporary_folder_too_long_for_sockets_is_refused(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers' batches would never arrive: multiprocessing says nothing of the socket."""
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="too long"):
        probe.bind("x" * (workers.SOCKET_NAME + 1))
    longest = workers.SOCKET_NAME - len(workers.SOCKET)
    for length, refused in ((longest, False), (longest + 1, True)):
        folder = Path(root) / ("x" * (length - len(root) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        made = loader(workers=1)
        if refused:
            with pytest.raises(DataError, match="too long for worker sockets"):
                next(made.epoch(0))
        else:
            assert same(list(made.epoch(0)), batches("dataloader"))


FORK_SERVER = """
import torch
from loading import NORMALISATION, batches, batching, same, split
from mnist_cli.base.signals import StoppedWaiting, stop_on_signals
from mnist_cli.data import workers
from mnist_cli.data.batches import build_loader

workers.start_method = lambda device: "forkserver"
if __name__ == "__main__":
    made = build_loader(batching("dataloader", workers=1), split(), NORMALISATION)
    assert same(list(made.epoch(0)), batches("dataloader"))
"""


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server here"
)
def test_the_fork_server_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    script, work = tmp_path / "script.py", tmp_path / "work"
    work.mkdir()
    (work / "torchvision.py").write_text("open('imported', 'w').close()")
    script.write_text(FORK_SERVER)
    environment = one_thread(PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    ended = finish(begin([sys.executable, str(script)], cwd=work, environment=environment))
    assert (ended.code, ended.err) == (0, "")
    assert not (work / "imported").exists()


@dataclass
class Befallen(Dataset[Any]):
    """A data set to whose worker something happens at each image; workers of any kind load it."""

    images: Dataset[Any]

    def __len__(self) -> int:
        return 23

    def __getitem__(self, draw: Any) -> Any:
        self.befall()
        return self.images[draw]

    def befall(self) -> None:
        raise NotImplementedError


class Killed(Befallen):
    def befall(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Failing(Befallen):
    def befall(self) -> None:
        raise RuntimeError("unable to write to file </torch_1>: No space left on device (28)")


class Interrupted(Befallen):
    def befall(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)


class Mute(Befallen):
    """Its batches cannot be sent, as without a file descriptor."""

    def befall(self) -> None:
        def fail(*_: object) -> None:
            raise OSError(24, "Too many open files")

        queues._ForkingPickler.dumps = fail  # type: ignore[attr-defined]


class Asleep(Befallen):
    def befall(self) -> None:
        time.sleep(3600)


def befallen(kind: type[Befallen]) -> ConventionalLoader:
    made = loader(workers=1)
    made._dataset = kind(made._dataset)  # type: ignore[assignment]
    return made


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL of POSIX")
@pytest.mark.usefixtures("_way")
def test_a_worker_that_dies_is_a_data_error() -> None:
    with pytest.raises(DataError, match="worker process of the DataLoader died"):
        list(befallen(Killed).epoch(0))


def test_a_worker_that_cannot_send_its_batch_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """multiprocessing would print a traceback, and the batch would never arrive."""
    with pytest.raises(DataError, match="worker process of the DataLoader died"):
        list(befallen(Mute).epoch(0))
    assert (
        capfd.readouterr().err == "a worker cannot send a batch: [Errno 24] Too many open files\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_ends_the_wait_for_a_batch_that_never_comes() -> None:
    made = befallen(Asleep)
    with stop_on_signals() as stop:
        made.waiting = stop.waiting
        threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM]).start()
        with pytest.raises(StoppedWaiting):
            list(made.epoch(0))
    for child in multiprocessing.active_children():
        child.kill()  # else torch waits for it
        with contextlib.suppress(RuntimeError):  # torch reports the death wherever it is met
            child.join()
    made.close()


def test_a_worker_that_fails_has_not_died() -> None:
    """As with a /dev/shm that is too small: the cause is in torch's last line."""
    with pytest.raises(DataError, match=r"failed: RuntimeError: unable to write .* \(28\)"):
        list(befallen(Failing).epoch(0))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.usefixtures("_way")
def test_a_signal_to_all_processes_leaves_the_workers_working() -> None:
    """The main process finishes its batch then, and needs them for it."""
    assert same(list(befallen(Interrupted).epoch(0)), batches("dataloader"))
