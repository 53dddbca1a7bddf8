"""What tests of every part share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from systems import LINUX

# Of tests in a shell's background it is ignored, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` hands its own flags on, --print-directory among them, to what tests make.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


# It forks the program, limits its memory and reads /proc: mounts, signals, pseudo-terminals.
collect_ignore = [] if LINUX else ["torture"]


def pytest_report_header() -> str:
    """What is left out."""
    return "" if LINUX else "tests/torture: left out, since it needs Linux"


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Small work on one thread: more only wait for each other where tests run side by side.

    TEST_THREADS=2 runs the same tests on two.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.fixture
def mnist_dir() -> Path:
    """The real MNIST files, where MNIST_DATA_DIR names them."""
    named = os.environ.get("MNIST_DATA_DIR")
    if not named:
        pytest.skip("MNIST_DATA_DIR names no data")
    return Path(named)
