"""Locks of files, on file systems with and without locks."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from filelock import Timeout
from systems import needs_posix

from mnist_cli.base import locks


@pytest.fixture(params=["has locks", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file system answers to flock."""
    if request.param == "has locks":
        return
    fcntl = pytest.importorskip("fcntl")

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


@needs_posix
@pytest.mark.usefixtures("_file_system")
def test_one_process_at_a_time_and_never_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    held = locks.acquire(path, timeout=0)
    assert _in_another_process(path) == "Timeout"
    held.release()
    assert _in_another_process(path) == "held"
    locks.acquire(path, timeout=0).release()


def _in_another_process(path: Path) -> str:
    """What happens to a process that locks ``path`` and is killed: "held" or "Timeout"."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            locks.acquire(path, timeout=0)
            os.write(writes, b"held")
        except Timeout:
            os.write(writes, b"Timeout")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writes)
    os.waitpid(pid, 0)
    with os.fdopen(reads) as answer:
        return answer.read()
