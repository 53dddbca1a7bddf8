"""What a test needs of the system: elsewhere it skips, and says why."""

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
