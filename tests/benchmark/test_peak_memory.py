"""The most memory that a process has had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_posix

from mnist_cli.benchmark.peak_memory import peak_bytes

ASK = "from mnist_cli.benchmark.peak_memory import peak_bytes; {}; print(peak_bytes())"
MIB = 2**20


def peak_after(statement: str) -> int:
    """The peak of a fresh process that has run a statement."""
    command = [sys.executable, "-c", ASK.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@needs_posix
def test_memory_that_was_given_back_counts_and_the_parents_does_not() -> None:
    ballast = b"1" * (300 * MIB)
    assert peak_bytes() > len(ballast)
    plain, large = peak_after("pass"), peak_after("b'1' * (200 * 2**20)")
    assert 1 * MIB < plain < 150 * MIB
    assert 190 * MIB < large - plain < 230 * MIB


@needs_posix
def test_without_proc_it_is_getrusages(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_bytes() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
