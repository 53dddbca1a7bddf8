"""A split of a data set: all its images as bytes on one device.

60,000 images of 28×28 bytes are 47 MB and fit any device. A batch is then an index into memory
rather than work for a loader. Batches are normalised when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from mnist_cli.base.seeding import derive
from mnist_cli.errors import UsageError

VALIDATION = 5000


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training set's pixels, as fractions of 255."""

    mean: float
    std: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise float pixels, 0 to 255, to zero mean and unit standard deviation, in place."""
        return pixels.sub_(255 * self.mean).div_(255 * self.std)


@dataclass(frozen=True)
class Split:
    """Images (N, 1, H, W), uint8, and labels (N,), int64, on one device.

    ``indices`` (N,), int64 on the CPU, are the images' numbers in their file.
    """

    name: str
    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, name: str, images: np.ndarray, labels: np.ndarray) -> Split:
        """Wrap arrays: images (N, H, W), uint8, without a copy if they are writable; labels (N,)."""
        pixels = torch.from_numpy(images if images.flags.writeable else images.copy())
        return cls(
            name,
            pixels.unsqueeze(1),
            torch.from_numpy(labels.astype(np.int64)),
            torch.arange(len(labels)),
        )

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, indices: Tensor, name: str | None = None) -> Split:
        """The images at ``indices`` (M,), int64 on the CPU, in that order."""
        there = indices.to(self.images.device)
        return Split(
            name or self.name,
            self.images.index_select(0, there),
            self.labels.index_select(0, there),
            self.indices.index_select(0, indices),
        )


@dataclass(frozen=True)
class TrainVal:
    """The training set, divided in two; ``val`` is None without validation images.

    ``seconds`` is the time taken to choose hard images; it counts as training time.
    """

    train: Split
    val: Split | None
    seconds: float = 0.0


def validation_size(wanted: int | None, count: int) -> int:
    """The number of validation images among ``count`` training images.

    The default, None, is 5,000, or a tenth if that is less.
    """
    return min(VALIDATION, count // 10) if wanted is None else wanted


def training_size(wanted: int, val_size: int | None, count: int, own_val: Split | None) -> int:
    """The number of ``count`` images that :func:`cut_validation` keeps to train on; 0 wants all."""
    if own_val is not None and val_size is None:
        return wanted or count
    return wanted or count - validation_size(val_size, count)


def cut_validation(
    split: Split,
    *,
    val_size: int | None,
    train_size: int,
    seed: int,
    prefer_hard: float = 0.0,
    own_val: Split | None = None,
) -> TrainVal:
    """Hold out a validation set from the training set. Both parts keep the file's order.

    Args:
        split: the training set.
        val_size: number of validation images; None is the number from :func:`validation_size`.
        train_size: number of the other images to keep; 0 keeps all.
        seed: determines the images.
        prefer_hard: how strongly to prefer hard images (:mod:`mnist_cli.data.selection`).
        own_val: the data set's own validation images: used unless ``val_size`` is given.

    Raises:
        UsageError: both numbers together exceed the training set.
    """
    if own_val is not None and val_size is None:
        parts = cut_validation(
            split, val_size=0, train_size=train_size, seed=seed, prefer_hard=prefer_hard
        )
        return TrainVal(parts.train, own_val, parts.seconds)
    val_size = validation_size(val_size, len(split))
    left = len(split) - val_size
    if left < max(train_size, 1):
        raise UsageError(
            f"val_size {val_size} and train_size {train_size or 'all'} exceed the "
            f"{len(split)} training images",
            f"Set train_size to {left} or less."
            if train_size and left > 0
            else f"Set val_size to {len(split) // 10} or less.",
        )
    if not val_size and train_size in (0, len(split)):
        return TrainVal(split, None)
    generator = torch.Generator().manual_seed(derive(seed, "validation"))
    order = torch.randperm(len(split), generator=generator)
    val = split.take(order[:val_size].sort().values, "val") if val_size else None
    if prefer_hard and 0 < train_size < left:
        from mnist_cli.data.selection import choose

        rest = split.take(order[val_size:].sort().values) if val_size else split
        started, number = perf_counter(), derive(seed, "selection")
        kept = choose(rest.images, rest.labels, train_size, prefer_hard=prefer_hard, seed=number)
        return TrainVal(rest.take(kept), val, perf_counter() - started)
    kept = order[val_size : val_size + train_size if train_size else None].sort().values
    return TrainVal(split.take(kept), val)
