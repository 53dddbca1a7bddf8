"""Pseudo-terminals, for the tests that need one."""

from __future__ import annotations

import pytest


def open_terminal() -> tuple[int, int]:
    """The two sides of a pseudo-terminal: ours, and the program's; skips where there is none."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal is available: {error}")
    return ours, theirs
