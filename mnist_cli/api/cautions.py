"""Warnings that Python attributes to the caller's line."""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from pathlib import Path

from mnist_cli.errors import Caution

_INSIDE = (str(Path(__file__).parent.parent), contextlib.__file__)


def caution(message: str) -> None:
    """Warn with a :class:`Caution` at the first line outside this package, each time anew."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    if frame is None:
        warnings.warn(message, Caution, stacklevel=2)
    else:
        place = frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__")
        warnings.warn_explicit(message, Caution, *place, registry={})


def forget_what_was_said() -> None:
    """See that the warnings of this package's own lines are shown in each call, not once.

    Python keeps in each module which of its warnings it has shown.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("mnist_cli.") and module is not None:
            vars(module).pop("__warningregistry__", None)
