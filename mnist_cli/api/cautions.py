"""Warnings that Python attributes to the caller's line."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from pathlib import Path

from mnist_cli.errors import Caution

_INSIDE = (str(Path(__file__).parent.parent), contextlib.__file__)


def caution(message: str) -> None:
    """Warn with a :class:`Caution` at the first line outside this package.

    By itself, Python shows a warning once per line, so a cell that runs again would show none.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    if frame is None:
        warnings.warn(message, Caution, stacklevel=2)
    else:
        place = frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__")
        warnings.warn_explicit(message, Caution, *place, registry={})
