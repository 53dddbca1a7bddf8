"""What a reader of the user's own data hands on, wherever it found them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_cli.data.arrays import Arrays

MAX_IMAGES = 1_000_000
"""In both splits together: 784 MB as bytes of 28×28."""


@dataclass(frozen=True, eq=False)
class Raw:
    """Images of 28×28 and labels from 0; ``test`` is None where nothing is set apart for it.

    Attributes:
        classes: their names, in the order of the labels.
        train: the training images.
        test: the test images.
        sources: the files, or the classes' folders, that they came from.
        remarks: what was done to them, a sentence each.
    """

    classes: tuple[str, ...]
    train: Arrays
    test: Arrays | None
    sources: tuple[Path, ...]
    remarks: tuple[str, ...]
