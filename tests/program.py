"""The program in a process of its own, and what a tiny run of it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from systems import LINUX, one_thread, skip_without_posix

if LINUX:
    from forked import Forked

RECIPE = ["train_size=192", "val_size=64", "threads=1", "precision=fp32"]
TINY = ["train", "--config", "smoke", *(word for pair in RECIPE for word in ("--set", pair))]
"""Nine steps on the bundled digits; one thread, so that every process computes the same bits."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What ``--json`` printed: one document, so that nothing else may be on stdout."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


def start(
    *arguments: object, faults: Sequence[list[Any]] = (), **options: Any
) -> subprocess.Popen[str]:
    """Start a command in a process of its own, its output piped, on one thread.

    On Linux a warm process forks it, unless it gets an ``environment`` that an interpreter reads
    as it starts. Only then it can have ``faults``: functions of :mod:`faults` and their values.
    """
    words = list(map(str, arguments))
    if not LINUX or "environment" in options:
        if faults:
            pytest.skip("a process with faults is forked, which needs Linux")
        return begin([sys.executable, "-m", "mnist_cli", *words], **options)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": one_thread()}
    return Forked("faults:program", words, list(faults), **pipes | options)


def begin(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a command of any program, its output piped, on one thread."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environment = options.pop("environment", None) or one_thread()
    return subprocess.Popen(command, text=True, env=environment, **options)


def start_held(
    marker: Path, *arguments: object, faults: Sequence[list[Any]] = ()
) -> subprocess.Popen[str]:
    """Start a training that waits in its fifth step until ``marker``, which it makes, is removed."""
    held = ["linger", "mnist_cli.training.step:Stepper.__call__", 5, str(marker)]
    process = start(*arguments, faults=[held, *faults])
    wait_until(lambda: marker.exists() or process.poll() is not None)
    assert process.poll() is None, finish(process).err
    return process


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a process that :func:`start` started."""
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Outcome(process.returncode, out or "", err or "")


def children(parent: int) -> list[int]:
    """The processes that ``parent`` has started, in their order; on Linux."""
    try:
        return [*map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether a process has not ended yet; on Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def shell(script: str, **environment: str) -> Outcome:
    """Run a script of bash in which ``mnist`` is the program."""
    skip_without_posix()
    prelude = 'mnist() { "$PYTHON" -m mnist_cli "$@"; }\n'
    done = subprocess.run(
        ["bash", "-c", prelude + script],
        env=one_thread(PYTHON=sys.executable, **environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
