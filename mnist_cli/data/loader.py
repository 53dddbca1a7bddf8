"""Batches of a split, in an order that depends on seed and epoch alone.

Two loaders with one contract. :class:`DeviceLoader` indexes the split where it lies;
:class:`ConventionalLoader` is what most programs do, torch's DataLoader over single images with
torchvision's transforms: slower, and the honest baseline. Without augmentation both give the
same batches, but for rounding (torchvision divides by 255 first).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_cli.base.seeding import derive
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data import workers
from mnist_cli.data.augment import Augmentation
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.kinds import kind_of

Batch = tuple[Tensor, Tensor]
Draw = tuple[int, int]
"""An epoch and an image of it, both counted from 0."""


@dataclass(frozen=True)
class Part:
    """Which part of each batch a rank takes: the ``rank``-th of ``ranks``, counted from 0.

    The parts of a batch are in its order, and their sizes differ by one at most.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """Where it lies among ``count`` images; empty where there are fewer images than ranks."""
        return slice(count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks)


WHOLE = Part()


class Loader(Protocol):
    """Gives an epoch's batches: images (B, 1, H, W), float32, normalised; labels (B,), int64.

    Where several ranks share the batches, B is of this rank's part.
    """

    batches: int
    """Batches an epoch."""
    images: int
    """Images an epoch, of all ranks."""
    generator: torch.Generator
    """What augmentation draws from; its state is part of a checkpoint."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches ``start`` and on of epoch ``epoch``, both counted from 0.

        With ``start`` above 0 the generator goes on from the state it has.
        """
        ...

    def count(self, batch: int) -> int:
        """Images in batch ``batch`` of an epoch, of all ranks."""
        ...

    def close(self) -> None:
        """End the processes that it has started; a later epoch starts new ones."""
        ...


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order (count,), int64 on the CPU, in which an epoch takes the training images."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def last_batch(config: TrainConfig, images: int) -> int:
    """How many images an epoch's last batch has, where the training set has ``images``."""
    rest = images % config.batch_size
    whole = not rest or (config.drop_last and images > config.batch_size)
    return config.batch_size if whole else rest


def build_loader(
    config: TrainConfig, split: Split, normalisation: Normalisation, part: Part = WHOLE
) -> Loader:
    """The loader that a configuration asks for; the device is the split's."""
    make = DeviceLoader if config.loader == "device" else ConventionalLoader
    loader = make(config, split, normalisation)
    loader.part = part
    return loader


class _Batching:
    """What both loaders share: how an epoch is cut into batches."""

    part = WHOLE

    def __init__(self, config: TrainConfig, split: Split, normalisation: Normalisation) -> None:
        self._seed = config.seed
        self.size = config.batch_size
        self._split = split
        self._normalisation = normalisation
        self._augmentation = Augmentation.of(config)
        self.batches, rest = divmod(len(split), self.size)
        if rest and not (config.drop_last and self.batches):
            self.batches += 1
        self.images = min(len(split), self.batches * self.size)

    def _order(self, epoch: int, start: int) -> Tensor:
        order = epoch_order(self._seed, epoch, len(self._split))
        return order[start * self.size : self.images]

    def count(self, batch: int) -> int:
        """See :meth:`Loader.count`."""
        return min(self.size, self.images - batch * self.size)

    def close(self) -> None:
        """See :meth:`Loader.close`."""


class DeviceLoader(_Batching):
    """Gathers, augments and normalises whole batches on the device that holds the split."""

    def __init__(self, config: TrainConfig, split: Split, normalisation: Normalisation) -> None:
        super().__init__(config, split, normalisation)
        self.generator = torch.Generator(split.images.device)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Loader.epoch`."""
        order = self.begin(epoch, start)
        if start >= self.batches:  # split() would make one empty batch of no images
            return
        for index in order.split(self.size):
            yield self.gather(index)

    def begin(self, epoch: int, start: int = 0) -> Tensor:
        """Which images batches ``start`` and on take: their numbers (M,), int64, on the device.

        At an epoch's beginning, seeds what augmentation draws from.
        """
        if start == 0:
            self.generator.manual_seed(derive(self._seed, "augment", epoch))
        return self._order(epoch, start).to(self._split.images.device, non_blocking=True)

    def gather(self, index: Tensor) -> Batch:
        """This rank's part of the batch of the images numbered ``index`` (B,), int64, on the device.

        What an image draws does not depend on how many ranks there are: each draws for the whole
        batch. Reads nothing back: a CUDA graph can capture it.
        """
        part = self.part.of(len(index))
        mine = index[part]
        images = self._split.images.index_select(0, mine).float()
        images = self._augmentation(images, self.generator, batch=len(index), first=part.start)
        return self._normalisation(images), self._split.labels.index_select(0, mine)


class ConventionalLoader(_Batching):
    """torch's DataLoader over single images, with torchvision's transforms and workers.

    Its workers start with the first epoch and live until :meth:`close`.
    """

    def __init__(self, config: TrainConfig, split: Split, normalisation: Normalisation) -> None:
        super().__init__(config, split, normalisation)
        self.generator = torch.Generator()
        self._device = split.images.device
        self._workers = config.workers
        self._dataset = _ImageDataset(
            split.to(torch.device("cpu")), normalisation, self._augmentation, config.seed
        )
        self._drawn: list[list[Draw]] = []
        self._loader: DataLoader[tuple[Tensor, int]] | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Loader.epoch`; what an image draws depends on seed, epoch and image alone."""
        self.generator.manual_seed(derive(self._seed, "workers", epoch))
        batches = [b.tolist() for b in self._order(epoch, start).split(self.size)]
        parts = [batch[self.part.of(len(batch))] for batch in batches]
        # The DataLoader reads this list anew in each epoch.
        self._drawn[:] = [[(epoch, image) for image in part] for part in parts if part]
        with workers.explain_dead_worker():
            for images, labels in self._begin():
                yield (
                    images.to(self._device, non_blocking=True),
                    labels.to(self._device, non_blocking=True),
                )
        if batches and batches[0] and not parts[-1]:  # fewer images are left than there are ranks
            yield self._none()

    def _begin(self) -> Iterator[Any]:
        if self._loader is not None:
            return iter(self._loader)
        with workers.signals_blocked(), warnings.catch_warnings():
            # Of more workers than cores; the command says so in its own words.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            self._loader = self._build()
            return iter(self._loader)

    def _build(self) -> DataLoader[tuple[Tensor, int]]:
        context = workers.context(self._device) if self._workers else None
        return DataLoader(
            self._dataset,
            batch_sampler=self._drawn,  # its numbers are pairs
            num_workers=self._workers,
            persistent_workers=bool(self._workers),
            multiprocessing_context=context,
            worker_init_fn=workers.ignore_signals,
            generator=torch.Generator(),  # no draw depends on it, nor on the global one
            pin_memory=kind_of(self._device).pinned,
        )

    def close(self) -> None:
        """See :meth:`Loader.close`."""
        self._loader = None

    def _none(self) -> Batch:
        images, labels = self._split.images[:0].float(), self._split.labels[:0]
        return images.to(self._device), labels.to(self._device)


class _ImageDataset(Dataset[tuple[Tensor, int]]):
    """Single images through torchvision's transforms, as torchvision's own MNIST gives them.

    An image is asked for with its epoch: a worker lives longer than one, and keeps no state.
    """

    def __init__(
        self, split: Split, normalisation: Normalisation, augmentation: Augmentation, seed: int
    ) -> None:
        from torchvision import transforms

        self._seed = seed
        self._images = split.images.squeeze(1)
        self._labels = split.labels.tolist()
        self._random = augmentation != Augmentation()
        moves, erases = _transforms(augmentation, split.images.shape[-1])
        self._transform = transforms.Compose(
            [
                *moves,
                transforms.ToTensor(),
                *erases,
                transforms.Normalize((normalisation.mean,), (normalisation.std,)),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        from PIL import Image

        epoch, index = draw
        picture = Image.fromarray(self._images[index].numpy())
        if not self._random:
            return self._transform(picture), self._labels[index]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self._seed, "image", epoch, index))
            return self._transform(picture), self._labels[index]


def _transforms(augmentation: Augmentation, size: int) -> tuple[list[object], list[object]]:
    """The transforms of the picture, and those of its tensor, for the same amounts."""
    from torchvision import transforms

    moves: list[object] = []
    erases: list[object] = []
    if augmentation.moves:
        moves.append(
            transforms.RandomAffine(
                degrees=augmentation.rotate,
                translate=(augmentation.shift / size, augmentation.shift / size),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                shear=augmentation.shear or None,
                interpolation=transforms.InterpolationMode.BILINEAR,
            )
        )
    if augmentation.erase:
        erases.append(transforms.RandomErasing(p=augmentation.erase))
    return moves, erases
