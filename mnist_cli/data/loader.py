"""Batches of a split, in an order that depends on seed and epoch alone.

Two loaders with one contract. :class:`DeviceLoader` indexes the split where it lies;
:class:`ConventionalLoader` is what most programs do, torch's DataLoader over single images with
torchvision's transforms: slower, and the honest baseline. Without augmentation both give the
same batches, but for rounding (torchvision divides by 255 first).
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_cli.config import TrainConfig
from mnist_cli.data.augment import Augmentation
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import DataError
from mnist_cli.seeding import derive

Batch = tuple[Tensor, Tensor]


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


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order (count,), int64 on the CPU, in which an epoch takes the training images."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def last_batch(config: TrainConfig, images: int) -> int:
    """How many images an epoch's last batch has, where the training set has ``images``."""
    rest = images % config.batch_size
    whole = not rest or (config.drop_last and images > config.batch_size)
    return config.batch_size if whole else rest


def start_method(device: torch.device, ranks: int) -> str | None:
    """How worker processes are begun; None is Python's usual way, which may be to fork.

    A rank on a GPU has threads of CUDA's and NCCL's, and a fork copies what they have locked.
    """
    if ranks == 1 or device.type != "cuda":
        return None
    ways = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in ways else "spawn"


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
    """torch's DataLoader over single images, with torchvision's transforms and workers."""

    def __init__(self, config: TrainConfig, split: Split, normalisation: Normalisation) -> None:
        super().__init__(config, split, normalisation)
        self.generator = torch.Generator()
        self._device = split.images.device
        self._workers = config.workers
        if self._workers:
            atexit.register(_end_workers)
        self._dataset = _ImageDataset(
            split.to(torch.device("cpu")), normalisation, self._augmentation, config.seed
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Loader.epoch`; what an image draws depends on seed, epoch and image alone."""
        self._dataset.epoch = epoch
        # DataLoader draws its workers' seeds from it: once an epoch, stopped in between or not.
        self.generator.manual_seed(derive(self._seed, "workers", epoch))
        batches = [b.tolist() for b in self._order(epoch, start).split(self.size)]
        parts = [batch[self.part.of(len(batch))] for batch in batches]
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            self._dataset,
            batch_sampler=[part for part in parts if part],
            num_workers=self._workers,
            multiprocessing_context=self._workers_begin(),
            worker_init_fn=_leave_signals_to_the_main_process,
            generator=self.generator,
            pin_memory=self._device.type == "cuda",
        )
        with explain_dead_worker():
            for images, labels in loader:
                yield (
                    images.to(self._device, non_blocking=True),
                    labels.to(self._device, non_blocking=True),
                )
        if batches and batches[0] and not parts[-1]:  # fewer images are left than there are ranks
            yield self._none()

    def _workers_begin(self) -> BaseContext | None:
        way = start_method(self._device, self.part.ranks) if self._workers else None
        if way is None:
            return None
        context = multiprocessing.get_context(way)
        context.set_forkserver_preload([__name__])  # else each worker imports torch
        return context

    def _none(self) -> Batch:
        images, labels = self._split.images[:0].float(), self._split.labels[:0]
        return images.to(self._device), labels.to(self._device)


@contextlib.contextmanager
def explain_dead_worker() -> Iterator[None]:
    """Turn torch's error about a worker that died into ours, wherever it comes up.

    torch raises it from a signal handler: in the middle of a step as well as in the loader.

    Raises:
        DataError: a worker died, or failed.
    """
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        if "DataLoader worker" not in str(error):
            raise
        if lines[0].startswith("Caught "):  # it lives, and tells of an error of its own
            raise DataError(
                f"a worker process of the DataLoader failed: {lines[-1]}",
                "Try fewer workers, or --set loader=device.",
            ) from error
        raise DataError(
            f"a worker process of the DataLoader died: {lines[0]}",
            "Was it killed for memory? Try fewer workers, or --set loader=device.",
        ) from error


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of the group; only one may decide.

    Without it, workers that are not forked (Python 3.14, macOS) die in the middle of the batch
    that the main process means to finish. They end when it tells them, or when it is gone, or
    by :func:`_end_workers`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """SIGKILL for the workers that an error has left as the process ends.

    An error's traceback can hold the DataLoader, which then tells its workers nothing. The exit
    of multiprocessing would send them SIGTERM, which they ignore, and wait for them for ever.
    """
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if not left:
        return
    if hasattr(signal, "SIGCHLD"):  # for torch's handler of it, this would be an error
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in left:
        child.kill()


class _ImageDataset(Dataset[tuple[Tensor, int]]):
    """Single images through torchvision's transforms, as torchvision's own MNIST gives them."""

    def __init__(
        self, split: Split, normalisation: Normalisation, augmentation: Augmentation, seed: int
    ) -> None:
        from torchvision import transforms

        self.epoch = 0
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

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        picture = Image.fromarray(self._images[index].numpy())
        if not self._random:
            return self._transform(picture), self._labels[index]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self._seed, "image", self.epoch, index))
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
