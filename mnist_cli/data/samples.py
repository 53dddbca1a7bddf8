"""A few images of a data set to show, as numpy arrays, so that their reader needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.errors import UsageError


@dataclass(frozen=True, eq=False)
class Samples:
    """Images (N, H, W), uint8; labels (N,), int64; the images' numbers in their file, (N,)."""

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, name: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> Samples:
        """Wrap arrays: images (N, H, W), uint8; labels (N,)."""
        return cls(name, images, labels.astype(np.int64), np.arange(len(labels)))

    def spread(self, count: int) -> Samples:
        """``count`` images, or all if there are fewer, spread evenly over the file."""
        count = min(count, len(self))
        return self._take(np.arange(count) * len(self) // count)

    def pick(self, numbers: Sequence[int]) -> Samples:
        """The images with these numbers, in that order.

        Raises:
            UsageError: there is no image with one of the numbers.
        """
        for number in numbers:
            if not 0 <= number < len(self):
                raise UsageError(f"image {number} does not exist", f"Choose 0 to {len(self) - 1}.")
        return self._take(np.array(numbers))

    def _take(self, chosen: npt.NDArray[np.int64]) -> Samples:
        return Samples(self.name, self.images[chosen], self.labels[chosen], self.indices[chosen])
