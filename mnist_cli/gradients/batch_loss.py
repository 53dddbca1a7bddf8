"""A network, a batch and the loss between them, made the same way each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd import Walk, trace_modules, walk
from mnist_cli.base.seeding import derive
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.data.split import Split
from mnist_cli.devices import device as devices
from mnist_cli.devices.device import Precision
from mnist_cli.errors import UsageError
from mnist_cli.networks import registry

DEFAULT_BATCH = 64


@dataclass(frozen=True)
class BatchLoss:
    """A network on a device, and a batch for it.

    Attributes:
        images: (N, 1, H, W), float, normalised.
        labels: (N,), int64.
        indices: the images' numbers in their file.
        smoothing: label smoothing of the loss that the network was trained with.
        source: the checkpoint; None for a fresh network.
        notes: what the user should know about how the network and the images were chosen.
        normalised: the images' normalisation, if the dump is to name it.
        deterministic: on CUDA, use only algorithms that repeat their bits.
    """

    model: nn.Module
    name: str
    images: Tensor
    labels: Tensor
    indices: tuple[int, ...]
    dataset: str
    split: str
    device: torch.device
    precision: Precision
    seed: int
    training: bool
    smoothing: float
    source: Path | None
    notes: tuple[str, ...] = ()
    normalised: MeanStd | None = None
    deterministic: bool = True

    def loss(self) -> Tensor:
        """The mean loss () of the batch with a fresh graph; dropout draws from the seed."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derive(self.seed, "inspect"))
            with self.precision.autocast():
                scores = self.model(self.images)
        return registry.loss(
            scores,
            self.labels,
            log_probabilities=bool(getattr(self.model, "log_probabilities", False)),
            smoothing=self.smoothing,
        )

    def settings(self) -> AbstractContextManager[None]:
        """The switches of torch under which all of this batch is computed.

        On CUDA the engine and a node called by hand may choose different algorithms, and differ
        in the last bits, unless ``deterministic``.
        """
        return devices.compute_settings(self.device, deterministic=self.deterministic)

    @contextmanager
    def walked(self, *, saved: bool = True, activations: bool = False) -> Iterator[Walk]:
        """Walk the graph of a fresh loss; the block runs under :meth:`settings`.

        Args:
            saved: also read what each node keeps for backward.
            activations: also record the calls of modules.
        """
        with self.settings():
            with trace_modules(self.model, activations=activations) as modules:
                loss = self.loss()
            yield walk(loss, names=self.model, modules=modules, saved=saved)

    def context(self) -> dict[str, Any]:
        """The dump's description of its origin; no path and no time, so that bytes repeat."""
        return {
            "torch": str(torch.__version__),
            "device": self.device.type,
            "precision": self.precision.name,
            "model": self.name,
            "mode": "train" if self.training else "eval",
            "dataset": self.dataset,
            "split": self.split,
            "batch": list(self.indices),
            "seed": self.seed,
            **self._normalisation(),
        }

    def _normalisation(self) -> dict[str, Any]:
        pair = self.normalised
        return {"normalisation": {"mean": pair.mean, "std": pair.std}} if pair else {}

    def describe(self, computed: str = "") -> str:
        """One line: the network, its images and the precision, or what it is ``computed`` in."""
        origin = f"{self.source}: " if self.source is not None else ""
        mode = "training" if self.training else "evaluation"
        return (
            f"{origin}{self.name} in {mode} mode, the loss of {len(self.indices)} "
            f"{self.split} images of {self.dataset}, {computed or self.precision.name} on {self.device}"
        )


def choose_batch(split: Split, count: int | None, seed: int) -> Split:
    """Choose ``count`` images of a split at random; default: 64, or all of a smaller split.

    Raises:
        UsageError: the split does not have that number of images.
    """
    count = count if count is not None else min(DEFAULT_BATCH, len(split))
    if not 1 <= count <= len(split):
        raise UsageError(f"a batch cannot have {count} images", f"Choose 1 to {len(split):,}.")
    generator = torch.Generator().manual_seed(derive(seed, "inspect-batch"))
    return split.take(torch.randperm(len(split), generator=generator)[:count])


def pick_batch(split: Split, numbers: Sequence[int]) -> Split:
    """The images with these numbers in their file.

    Raises:
        UsageError: the split does not have one of them.
    """
    rows = {number: row for row, number in enumerate(split.indices.tolist())}
    missing = next((number for number in numbers if number not in rows), None)
    if missing is not None:
        last = max(rows)
        which = f"0 to {last}" if len(rows) == last + 1 else f"{len(rows):,} between 0 and {last}"
        raise UsageError(
            f"image {missing} is not in the split", f"The split has these images: {which}."
        )
    return split.take(torch.tensor([rows[number] for number in numbers]))
