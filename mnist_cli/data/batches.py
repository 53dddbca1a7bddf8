"""Makes batches of a split, in an order that depends only on seed and epoch.

There are two loaders. :class:`DeviceLoader` indexes the split on its device.
:class:`ConventionalLoader` works as most programs do: torch's DataLoader over single images, with
torchvision's transforms. It is slower, and the baseline for comparisons. Without augmentation, both
give the same batches, except for rounding (torchvision divides by 255 first).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_cli.base.seeding import derive
from mnist_cli.data import workers
from mnist_cli.data.augment import Augmentation
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.kinds import kind_of

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig

Batch = tuple[Tensor, Tensor]
Draw = tuple[int, int]
"""An epoch and the number of an image, both counted from 0."""


@dataclass(frozen=True)
class Batching:
    """How a training set becomes batches.

    Attributes:
        batch_size: images per batch; the batches of one step count as one batch.
        seed: determines the order and the augmentation.
        drop_last: skip an epoch's last batch if it is not full, unless it is the only one.
        loader: ``device`` or ``dataloader``.
        workers: processes of the ``dataloader``; 0 loads in this process.
        augmentation: random changes of the images.
    """

    batch_size: int
    seed: int = 0
    drop_last: bool = False
    loader: Literal["device", "dataloader"] = "device"
    workers: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def of(cls, config: TrainConfig) -> Batching:
        """The part of a configuration that this module needs."""
        augmentation = Augmentation(
            config.shift, config.rotate, config.scale, config.shear, config.erase
        )
        return cls(
            config.images_per_step,
            config.seed,
            config.drop_last,
            config.loader,
            config.workers,
            augmentation,
        )

    def batches(self, images: int) -> int:
        """The number of batches in an epoch of ``images`` images."""
        full, rest = divmod(images, self.batch_size)
        return full if full and self.drop_last else full + bool(rest)

    def last_batch(self, images: int) -> int:
        """The number of images in the last batch of an epoch of ``images`` images."""
        return min(images - (self.batches(images) - 1) * self.batch_size, self.batch_size)


@dataclass(frozen=True)
class Part:
    """The part of each batch that a rank takes: the ``rank``-th of ``ranks``, counted from 0.

    The parts of a batch keep its order, and their sizes differ by at most one.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """The part's slice of ``count`` images; it may be empty if there are fewer than ranks."""
        return slice(count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks)


WHOLE = Part()


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order (count,), int64 on the CPU, in which an epoch takes the training images."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def build_loader(
    batching: Batching, split: Split, normalisation: Normalisation, part: Part = WHOLE
) -> Loader:
    """The loader that ``batching`` names; it computes on the split's device."""
    make = DeviceLoader if batching.loader == "device" else ConventionalLoader
    return make(batching, split, normalisation, part)


class Loader:
    """Gives an epoch's batches: images (B, 1, H, W), float32, normalised; labels (B,), int64.

    If several ranks share the batches, B is the number of images in this rank's part.

    Attributes:
        size: images per batch, of all ranks.
        batches: batches per epoch.
        images: images per epoch, of all ranks.
        generator: the source of augmentation's random numbers; its state is in checkpoints.
        waiting: makes the context in which the loader waits for another process.
    """

    def __init__(
        self, batching: Batching, split: Split, normalisation: Normalisation, part: Part = WHOLE
    ) -> None:
        device = split.images.device if batching.loader == "device" else torch.device("cpu")
        self.generator = torch.Generator(device)
        self.size = batching.batch_size
        self.batches = batching.batches(len(split))
        self.images = min(len(split), self.batches * self.size)
        self.part = part
        self.waiting: Callable[[], AbstractContextManager[object]] = nullcontext
        self._batching = batching
        self._split = split
        self._normalisation = normalisation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``epoch`` from ``start`` on, both counted from 0.

        If ``start`` is above 0, the generator continues from its present state.
        """
        raise NotImplementedError

    def count(self, batch: int) -> int:
        """The number of images in batch ``batch`` of an epoch, on all ranks."""
        return min(self.size, self.images - batch * self.size)

    def close(self) -> None:
        """End the processes that the loader has started; a later epoch starts new ones."""

    def _order(self, epoch: int, start: int) -> Tensor:
        order = epoch_order(self._batching.seed, epoch, len(self._split))
        return order[start * self.size : self.images]


class DeviceLoader(Loader):
    """Gathers, augments and normalises whole batches on the device that holds the split."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Loader.epoch`."""
        order = self.begin(epoch, start)
        if start >= self.batches:  # split() would make one empty batch
            return
        for index in order.split(self.size):
            yield self.gather(index)

    def begin(self, epoch: int, start: int = 0) -> Tensor:
        """The numbers (M,), int64, on the device, of the images in the batches from ``start`` on.

        At an epoch's beginning, seeds the generator.
        """
        if start == 0:
            self.generator.manual_seed(derive(self._batching.seed, "augment", epoch))
        return self._order(epoch, start).to(self._split.images.device, non_blocking=True)

    def gather(self, index: Tensor) -> Batch:
        """This rank's part of the batch of images ``index`` (B,), int64, on the device.

        The random numbers of an image do not depend on the number of ranks: each rank draws for
        the whole batch. Nothing is read back, so a CUDA graph can capture this.
        """
        part = self.part.of(len(index))
        mine = index[part]
        images = self._split.images.index_select(0, mine).float()
        augment = self._batching.augmentation
        images = augment(images, self.generator, batch=len(index), first=part.start)
        return self._normalisation(images), self._split.labels.index_select(0, mine)


class ConventionalLoader(Loader):
    """torch's DataLoader over single images, with torchvision's transforms and workers.

    Its workers start with the first epoch and live until :meth:`close`.
    """

    def __init__(
        self, batching: Batching, split: Split, normalisation: Normalisation, part: Part = WHOLE
    ) -> None:
        super().__init__(batching, split, normalisation, part)
        self._device = split.images.device
        self._dataset = _ImageDataset(split.to(torch.device("cpu")), normalisation, batching)
        self._drawn: list[list[Draw]] = []
        self._loader: DataLoader[tuple[Tensor, int]] | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Loader.epoch`; an image's changes depend only on seed, epoch and image."""
        self.generator.manual_seed(derive(self._batching.seed, "workers", epoch))
        batches = [b.tolist() for b in self._order(epoch, start).split(self.size)]
        parts = [batch[self.part.of(len(batch))] for batch in batches]
        # The DataLoader reads this list again in each epoch.
        self._drawn[:] = [[(epoch, image) for image in part] for part in parts if part]
        with workers.explain_dead_worker():
            for images, labels in self._received(self._begin()):
                yield (
                    images.to(self._device, non_blocking=True),
                    labels.to(self._device, non_blocking=True),
                )
        if batches and batches[0] and not parts[-1]:  # fewer images are left than ranks
            none = self._split.take(torch.arange(0))
            yield none.images.float(), none.labels

    def _received(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self.waiting(), workers.explain_broken_connection():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _begin(self) -> Iterator[Any]:
        if self._loader is not None:
            return iter(self._loader)
        with workers.signals_blocked(), warnings.catch_warnings():
            # torch warns of more workers than cores; the command has its own warning.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            self._loader = self._build()
            return iter(self._loader)

    def _build(self) -> DataLoader[tuple[Tensor, int]]:
        count = self._batching.workers
        return DataLoader(
            self._dataset,
            batch_sampler=self._drawn,  # its numbers are pairs
            num_workers=count,
            persistent_workers=bool(count),
            multiprocessing_context=workers.context(self._device) if count else None,
            worker_init_fn=workers.begin,
            generator=torch.Generator(),  # nothing depends on it, nor on the global one
            pin_memory=kind_of(self._device).pinned,
        )

    def close(self) -> None:
        """See :meth:`Loader.close`."""
        self._loader = None


class _ImageDataset(Dataset[tuple[Tensor, int]]):
    """Single images through torchvision's transforms, as from torchvision's own MNIST.

    An image's key holds its epoch: a worker lives for several epochs, and keeps no state.
    """

    def __init__(self, split: Split, normalisation: Normalisation, batching: Batching) -> None:
        from torchvision import transforms

        augmentation = batching.augmentation
        self._seed = batching.seed
        self._images = split.images.squeeze(1)
        self._labels = split.labels.tolist()
        self._random = augmentation != Augmentation()
        steps = _transforms(augmentation, split.images.shape[-1])
        normalise = transforms.Normalize((normalisation.mean,), (normalisation.std,))
        self._transform = transforms.Compose([*steps, normalise])

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


def _transforms(augmentation: Augmentation, size: int) -> list[object]:
    """The same transforms by torchvision, from a picture to a tensor."""
    from torchvision import transforms

    steps: list[object] = []
    if augmentation.moves:
        steps.append(
            transforms.RandomAffine(
                degrees=augmentation.rotate,
                translate=(augmentation.shift / size, augmentation.shift / size),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                shear=augmentation.shear or None,
                interpolation=transforms.InterpolationMode.BILINEAR,
            )
        )
    steps.append(transforms.ToTensor())
    if augmentation.erase:
        steps.append(transforms.RandomErasing(p=augmentation.erase))
    return steps
