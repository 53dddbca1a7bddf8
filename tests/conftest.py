"""What tests of every part share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from systems import LINUX

NAMED = os.environ.get("MNIST_DATA_DIR")
MNIST = Path(NAMED).resolve() if NAMED else None  # before a test changes the folder

# A shell's background ignores SIGINT, and nohup SIGHUP; the processes that tests start would too.
for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, signal.SIGINT)  # Windows has no SIGHUP
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

# As the program does before it imports onnxruntime, which writes into the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Else the make that a test starts would get the flags of `make test`, such as --print-directory, and
# the programs would write at once, which hides that a buffer may fail to be written at the end.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)


# It needs forks, limits of memory, /proc, mounts, signals and pseudo-terminals.
collect_ignore = [] if LINUX else ["torture"]


def pytest_report_header() -> str:
    """Say what is not collected."""
    return "" if LINUX else "tests/torture is not collected: it needs Linux"


@pytest.fixture(scope="module", autouse=True)
def _few_objects() -> None:
    """Hide the million objects of pytest, torch and earlier tests: a recording searches all for tensors."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Small work on one thread: more only wait for each other where tests run side by side.

    TEST_THREADS=2 runs the same tests on two.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.fixture
def import_path() -> Iterator[None]:
    """Folders of users' own files, which stay on the path of imports, leave it with the test."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def one_thread_of_torch() -> Iterator[None]:
    """Another number changes the last bits: runs and ranks that a test starts have one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mnist_dir() -> Path:
    """The real MNIST files, if MNIST_DATA_DIR names them; commands run without the variable."""
    if MNIST is None:
        pytest.skip("MNIST_DATA_DIR names no data")
    return MNIST
