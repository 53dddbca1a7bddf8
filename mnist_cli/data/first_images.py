"""The first images of a training run, from its loader, beside the images in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mnist_cli.data.batches import Batching, build_loader, epoch_order
from mnist_cli.data.samples import Samples
from mnist_cli.data.split import Normalisation

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.data.load import LoadedData

AS_BYTES = Normalisation(0.0, 1 / 255)
"""Leaves pixels unchanged, 0 to 255."""


@dataclass(frozen=True, eq=False)
class FirstImages:
    """Images before augmentation, and the same images after it: (N, H, W), uint8."""

    before: Samples
    after: npt.NDArray[np.uint8]


def first_images(config: TrainConfig, data: LoadedData, count: int) -> FirstImages:
    """The first ``count`` images of the first epoch that a run with this configuration trains on.

    The order and the random changes are the same as in a run on the CPU; a GPU draws other numbers.

    Raises:
        UsageError: the configuration asks for more images than there are.
    """
    train = data.cut(config).train
    chosen = train.take(epoch_order(config.seed, 0, len(train))[:count])
    loader = build_loader(Batching.of(config), train, AS_BYTES)
    parts: list[npt.NDArray[np.float32]] = []
    try:
        for images, _ in loader.epoch(0):
            parts.append(images.squeeze(1).numpy())
            if sum(map(len, parts)) >= len(chosen):
                break
    finally:
        loader.close()
    after = np.concatenate(parts)[: len(chosen)].round().clip(0, 255).astype(np.uint8)
    before = Samples(
        "train",
        chosen.images.squeeze(1).numpy()[: len(after)],
        chosen.labels.numpy()[: len(after)],
        chosen.indices.numpy()[: len(after)],
    )
    return FirstImages(before, after)
