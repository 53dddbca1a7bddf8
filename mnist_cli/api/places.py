"""Where runs and data sets are, unless the user names other folders. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_cli.base.files import from_home
from mnist_cli.errors import UsageError

DATA_DIR = Path("data")
RUNS = Path("runs")
DATA_VARIABLE = "MNIST_DATA_DIR"


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets: the given one, or ``MNIST_DATA_DIR``, or ``data``."""
    if given is not None and given != "":
        return named_path(given)
    return named_path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def named_path(path: object) -> Path:
    """A path that the caller has named.

    Raises:
        UsageError: it is of another type, empty, or holds a null character.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"{path!r:.60} is not a path", "Give a text or a pathlib.Path.")
    return Path(from_home(text))
