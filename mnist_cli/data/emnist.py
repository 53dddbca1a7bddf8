"""Recognises and transposes EMNIST's own files, which store each image column by column.

This concerns NIST's IDX files (``emnist-letters-train-images-idx3-ubyte``) and the CSV files made
of them. Letters and digits fill their box in height, as EMNIST's paper describes. So the mean width
and height of the ink show whether somebody has transposed them already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE = 10_000
"""Number of images that are measured."""
CLEARLY = 1.05
"""Upright ink exceeds this ratio of height to width; MNIST has 19.7 : 15.0 pixels."""


def upright(name: str, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Images (N, H, W) of the file ``name``, transposed if they are EMNIST's; and remarks."""
    if "emnist" not in name.lower():
        return images, ()
    height, width = _extent(images[:SAMPLE], 2), _extent(images[:SAMPLE], 1)
    if height > CLEARLY * width:
        return images, (
            "named like EMNIST's own files, but its images are upright: not transposed",
        )
    transposed = np.ascontiguousarray(images.transpose(0, 2, 1))
    return transposed, ("EMNIST's own files store images column by column: they are transposed",)


def _extent(images: npt.NDArray[np.uint8], across: int) -> float:
    """The mean number of rows (``across`` is 2) or columns (1) that have ink."""
    return float((images > 64).any(axis=across).sum(axis=1).mean())
