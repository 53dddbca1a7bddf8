"""Warnings that Python attributes to the caller's line."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from pathlib import Path

from mnist_cli.errors import Caution

_INSIDE = (str(Path(__file__).parent.parent), contextlib.__file__)


def caution(message: str) -> None:
    """Warn with a :class:`Caution` at the first line outside this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, Caution, stacklevel=level)
