"""Where runs and data sets are, unless the user names other folders. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

DATA_DIR = Path("data")
RUNS = Path("runs")
DATA_VARIABLE = "MNIST_DATA_DIR"


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets: the given one, or ``MNIST_DATA_DIR``, or ``data``."""
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)
