"""What tests of every part share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def mnist_dir() -> Path:
    """The real MNIST files, where MNIST_DATA_DIR names them."""
    named = os.environ.get("MNIST_DATA_DIR")
    if not named:
        pytest.skip("MNIST_DATA_DIR names no data")
    return Path(named)
