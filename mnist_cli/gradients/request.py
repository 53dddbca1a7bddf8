"""From what is to be inspected to a network on a device, its images and their loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from mnist_cli.config.names import ModelName, dataset_label
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.load import LoadedData, load
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import resolve_device, resolve_precision
from mnist_cli.gradients.batch_loss import BatchLoss, choose_batch, pick_batch
from mnist_cli.inference.opened import DataSource, OpenCheckpoint
from mnist_cli.inference.run_data import choose_split
from mnist_cli.training.state import fresh_model, normalisation_of

FRESH_DATA = "digits"
"""Data set of a fresh network: the bundled digits need no download."""


@dataclass(frozen=True)
class Request:
    """What is to be inspected; None is the checkpoint's value, or the default.

    Attributes:
        source: of the images.
        model: a network by name.
        split: of the images.
        count: number of images, drawn at random.
        indices: the images' numbers in their file, in place of ``count``.
        training: the network's mode: training or evaluation.
        normalise: the normalisation of the images.
        deterministic: on CUDA, use only algorithms that repeat their bits.
    """

    source: DataSource
    model: ModelName | None = None
    split: Literal["train", "val", "test"] = "train"
    count: int | None = None
    indices: tuple[int, ...] | None = None
    seed: int | None = None
    training: bool = True
    device: str | None = None
    precision: str | None = None
    normalise: MeanStd | None = None
    deterministic: bool = True


def open_batch(request: Request, found: OpenCheckpoint | None) -> BatchLoss:
    """Bring network and batch together, and load nothing that is not needed.

    Args:
        request: what is to be inspected.
        found: the checkpoint, on the request's device; None makes a fresh network.

    Raises:
        UsageError, DeviceError: the device, the precision or the images are not available.
        CheckpointError, DataError: the data are not available, or do not fit the network.
    """
    config = found.checkpoint.config if found else None
    device = found.device if found else resolve_device(request.device or "auto")
    source = request.source
    data = (
        found.data if found else load(source.name or FRESH_DATA, source.folder, say=source.notify)
    )
    seed = request.seed if request.seed is not None else config.seed if config else 0
    precision = found.precision if found else resolve_precision(request.precision or "auto", device)
    split = _images(request, found, data, seed)
    name = request.model or TrainConfig().model
    normalise = found.normalisation if found else _of_fresh(request, name, data)
    network: nn.Module = (
        found.network
        if found
        else fresh_model(TrainConfig(model=name, seed=seed), len(data.spec.classes))
    )
    return BatchLoss(
        model=network.to(device).train(request.training),
        name=found.label if found else name.label,
        images=normalise(split.images.to(device).float()),
        labels=split.labels.to(device),
        indices=tuple(split.indices.tolist()),
        dataset=dataset_label(data.spec.name),
        split=request.split,
        device=device,
        precision=precision,
        seed=seed,
        training=request.training,
        smoothing=config.label_smoothing if config else 0.0,
        source=found.path if found else None,
        notes=tuple(_notes(found)) if found else (),
        normalised=MeanStd(normalise.mean, normalise.std) if _unusual(request, found) else None,
        deterministic=request.deterministic,
    )


def _of_fresh(request: Request, name: ModelName, data: LoadedData) -> Normalisation:
    """The normalisation of a fresh network's images."""
    asked = request.normalise
    return normalisation_of(name, data) if asked is None else Normalisation(*asked)


def _unusual(request: Request, found: OpenCheckpoint | None) -> bool:
    """Whether a dump names the normalisation: it was requested, or no file states it."""
    return request.normalise is not None or (found is not None and found.checkpoint.foreign)


def _images(request: Request, found: OpenCheckpoint | None, data: LoadedData, seed: int) -> Split:
    """The images: by default those that the run trained on, as ``mnist train --dump-grad`` does.

    Training images by number are looked up in the whole file instead.
    """
    if request.indices is not None and request.split == "train":
        return pick_batch(data.train, request.indices)
    split = found.split(request.split) if found else choose_split(request.split, data, None)
    if request.indices is not None:
        return pick_batch(split, request.indices)
    return choose_batch(split, request.count, seed)


def _notes(found: OpenCheckpoint) -> Iterator[str]:
    yield from found.warnings
    config, members = found.checkpoint.config, found.checkpoint.members
    if config is not None and config.compile:
        yield "trained compiled, inspected uncompiled, because torch.compile hides the graph"
    if members > 1:
        yield f"an ensemble of {members} networks: this is the first of them"
    if config is not None and config.ema:
        yield "these are the averaged weights; the weights that the optimiser trained differ"
