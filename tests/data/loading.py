"""What the tests of the loaders share: a small split and its batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_cli.data.augment import Augmentation
from mnist_cli.data.batches import Batching, build_loader
from mnist_cli.data.split import Normalisation, Split

NORMALISATION = Normalisation(0.1307, 0.3081)
MOVED = {"augmentation": Augmentation(shift=2, rotate=10, scale=0.1, shear=5, erase=0.5)}


def split(count: int = 23) -> Split:
    rng = np.random.default_rng(0)
    return Split.of(
        "train", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), rng.integers(0, 10, count)
    )


def batching(loader: Any, **values: Any) -> Batching:
    return Batching(**{"batch_size": 5, "seed": 3, **values, "loader": loader})


def batches(
    loader: str, epoch: int = 0, start: int = 0, **values: Any
) -> list[tuple[Tensor, Tensor]]:
    made = build_loader(batching(loader, **values), split(), NORMALISATION)
    return [(images.clone(), labels.clone()) for images, labels in made.epoch(epoch, start)]


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )
