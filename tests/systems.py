"""What a test needs from the system: elsewhere it is skipped, with the reason."""

from __future__ import annotations

import os
import sys

import pytest

WINDOWS, LINUX = sys.platform == "win32", sys.platform == "linux"

NEEDS_POSIX = "needs POSIX: signals to other processes, links, named pipes, permissions or bash"
needs_posix = pytest.mark.skipif(WINDOWS, reason=NEEDS_POSIX)
needs_permissions = pytest.mark.skipif(
    WINDOWS or os.geteuid() == 0, reason="root, and Windows, may read and write anywhere"
)


def skip_without_posix() -> None:
    """Skip the test that calls it."""
    if WINDOWS:
        pytest.skip(NEEDS_POSIX)


def one_thread(**more: str) -> dict[str, str]:
    """The environment for a process that shares the machine with other tests.

    With TEST_THREADS=2 it has two threads, as this process has then.
    """
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("TEST_THREADS", "1"), **more}


def open_terminal() -> tuple[int, int]:
    """The two sides of a pseudo-terminal, ours and the program's; skips where none is available."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal is available: {error}")
    return ours, theirs
