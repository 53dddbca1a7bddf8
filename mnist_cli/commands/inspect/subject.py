"""What is inspected: a network, a batch and the loss between them, made the same way each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mnist_cli.base.seeding import derive
from mnist_cli.commands.opening import open_checkpoint
from mnist_cli.commands.options import parse_indices
from mnist_cli.config.choices import is_known_model, unknown_model
from mnist_cli.config.names import ModelName, dataset_label
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.report.console import note, warn

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mnist_cli.autograd import Walk
    from mnist_cli.data.load import LoadedData
    from mnist_cli.data.split import Split
    from mnist_cli.devices.device import Precision
    from mnist_cli.inference.opened import OpenCheckpoint

DEFAULT_BATCH = 64


@dataclass(frozen=True)
class Request:
    """What the command line asked to inspect; None is "as the checkpoint says, or the default"."""

    target: Path | None
    runs: Path
    data_dir: Path
    model: ModelName | None = None
    dataset: str | None = None
    split: Literal["train", "val", "test"] = "train"
    batch: int | None = None
    indices: str | None = None
    seed: int | None = None
    training: bool = True
    device: str | None = None
    precision: str | None = None
    deterministic: bool = True


@dataclass(frozen=True)
class Subject:
    """A network on a device, and a batch of images (N, 1, H, W), float, normalised, with labels.

    ``smoothing`` is the label smoothing of the loss that the network was trained with.
    ``notes`` are what the user should know of how it was chosen.
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
    deterministic: bool = True

    def loss(self, model: nn.Module | None = None) -> Tensor:
        """A fresh graph: the mean loss () of the batch, dropout drawn from the seed."""
        import torch

        from mnist_cli.devices.kinds import random_state_kept
        from mnist_cli.networks import registry as models

        network = self.model if model is None else model
        with random_state_kept(self.device):
            torch.manual_seed(derive(self.seed, "inspect"))
            with self.precision.autocast():
                scores = network(self.images)
        return models.loss(
            scores,
            self.labels,
            log_probabilities=bool(getattr(self.model, "log_probabilities", False)),
            smoothing=self.smoothing,
        )

    def settings(self) -> AbstractContextManager[None]:
        """The switches of torch under which everything of this subject is computed.

        On CUDA the engine and a node called by hand may choose different algorithms, and differ
        in the last bits, unless ``deterministic``.
        """
        from mnist_cli.devices.device import compute_settings

        return compute_settings(self.device, deterministic=self.deterministic)

    @contextmanager
    def walked(self, *, saved: bool = True) -> Iterator[Walk]:
        """Walk the graph of a fresh loss; the block runs under :meth:`settings`.

        Args:
            saved: also read what each node keeps for backward.
        """
        from mnist_cli.autograd import trace_modules, walk

        with self.settings():
            with trace_modules(self.model) as modules:
                loss = self.loss()
            yield walk(loss, names=self.model, modules=modules, saved=saved)

    def context(self) -> dict[str, Any]:
        """What the dump says of where it came from; no path and no time, so that bytes repeat."""
        import torch

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
        }

    def describe(self) -> str:
        """One line: which network, on which images."""
        origin = f"{self.source}: " if self.source is not None else ""
        mode = "training" if self.training else "evaluation"
        return (
            f"{origin}{self.name} in {mode} mode, the loss of {len(self.indices)} "
            f"{self.split} images of {self.dataset}, {self.precision.name} on {self.device}"
        )


def opened(request: Request, *, quiet: bool) -> Subject:
    """The network and the batch of a request, with its notes as warnings; named unless ``quiet``."""
    subject = open_subject(request)
    for text in subject.notes:
        warn(text)
    if not quiet:
        note(subject.describe())
    return subject


def open_subject(request: Request) -> Subject:
    """Bring network and batch together, and load nothing that is not needed.

    Raises:
        UsageError, CheckpointError, DataError: what was asked for is not available.
    """
    from mnist_cli.devices.device import resolve_device, resolve_precision

    device = resolve_device(request.device or "auto")
    notes: list[str] = []
    found = _find(request, notes)
    data = _data(request, found, notes)
    seed = _seed(request, found)
    model = _model(request, found, data, seed)
    precision = found.precision if found else resolve_precision(request.precision or "auto", device)
    split = _batch(_split(request, found, data), request, seed)
    normalise = found.normalisation if found else data.normalisation
    config = found.checkpoint.config if found else None
    return Subject(
        model=model.to(device).train(request.training),
        name=found.label if found else (request.model or _default_model()).label,
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
        source=found.path if found is not None else None,
        notes=tuple(notes),
        deterministic=request.deterministic,
    )


def _find(request: Request, notes: list[str]) -> OpenCheckpoint | None:
    """The checkpoint that was named, or the newest run's; None where there is no run at all.

    A network that is named without a checkpoint is taken fresh; one of the user's own only where
    the newest run is not of it, since a checkpoint of it cannot be read without naming it.
    """
    from mnist_cli.checkpoints.checkpoint import OtherNetworkError
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.runs.directory import find_checkpoint

    model, named = request.model, request.target is not None
    if model is not None and not is_known_model(model):
        raise UsageError(*unknown_model(model))
    if not named and model is not None and not model.is_own:
        return None
    try:
        find_checkpoint(request.target, request.runs)
    except CheckpointError:
        if named:
            raise
        return None
    try:
        return open_checkpoint(
            request.target,
            request.runs,
            model=model,
            device=request.device,
            precision=request.precision,
            source=DataSource(request.data_dir, request.dataset, notify=notes.append),
        )
    except OtherNetworkError:
        if named:
            raise
        return None


def _default_model() -> ModelName:
    from mnist_cli.config.schema import TrainConfig

    return TrainConfig().model


def _data(request: Request, found: OpenCheckpoint | None, notes: list[str]) -> LoadedData:
    from mnist_cli.data.load import load

    if found is not None:
        data = found.data
        notes += [*found.warnings, *_remarks(found)]
        return data
    name = request.dataset or "digits"
    notes.append(
        f"no checkpoint was named and none lies under {request.runs}/: "
        f"inspecting a fresh network on {dataset_label(name)}"
        if request.model is None
        else f"inspecting a fresh network '{request.model.label}' on {dataset_label(name)}"
    )
    data = load(name, request.data_dir, say=notes.append)
    if data.fallback:
        notes.append(f"MNIST is not available; these are the bundled digits ({data.fallback})")
    return data


def _remarks(found: OpenCheckpoint) -> Iterator[str]:
    """What else the reader of these gradients should know."""
    config, members = found.checkpoint.config, found.checkpoint.members
    if config is not None and config.compile:
        yield "trained compiled, inspected uncompiled: torch.compile fuses the graph into one node"
    if members > 1:
        yield f"an ensemble of {members} networks: this is the first of them"
    if config is not None and config.ema:
        yield "these are the averaged weights; those that were trained are not the same"


def _seed(request: Request, found: OpenCheckpoint | None) -> int:
    if request.seed is not None:
        return request.seed
    return found.checkpoint.config.seed if found and found.checkpoint.config else 0


def _model(
    request: Request, found: OpenCheckpoint | None, data: LoadedData, seed: int
) -> nn.Module:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.training.state import fresh_model

    if found is not None:
        return found.network
    model = request.model or _default_model()
    config = TrainConfig(model=model, seed=seed)
    return fresh_model(config, len(data.spec.classes))


def _split(request: Request, found: OpenCheckpoint | None, data: LoadedData) -> Split:
    """The images to choose from: those of the run, as ``mnist train --dump-grad`` has them.

    Training images by number are looked up in the whole file instead.
    """
    if request.split == "train" and request.indices is not None:
        return data.train
    from mnist_cli.inference.run_data import choose_split

    return found.split(request.split) if found else choose_split(request.split, data, None)


def _batch(split: Split, request: Request, seed: int) -> Split:
    """The images by their numbers in the file, or a seeded choice of so many."""
    import torch

    if request.indices is None:
        return choose_batch(split, request.batch, seed)
    if request.batch is not None:
        raise UsageError("--batch-size and --indices contradict each other", "Give one of them.")
    rows = {number: row for row, number in enumerate(split.indices.tolist())}
    return split.take(
        torch.tensor([_row(number, rows) for number in parse_indices(request.indices)])
    )


def _row(number: int, rows: dict[int, int]) -> int:
    if number not in rows:
        last = max(rows)
        which = f"0 to {last}" if len(rows) == last + 1 else f"{len(rows):,} of those up to {last}"
        raise UsageError(
            f"--indices: image {number} is not there", f"The split has the images {which}."
        )
    return rows[number]


def choose_batch(split: Split, count: int | None, seed: int) -> Split:
    """So many images of a split (64 where None, or all of a smaller one), chosen by the seed.

    Raises:
        UsageError: more than there are.
    """
    import torch

    count = count if count is not None else min(DEFAULT_BATCH, len(split))
    if not 1 <= count <= len(split):
        raise UsageError(f"--batch-size {count}: choose 1 to {len(split):,} images")
    generator = torch.Generator().manual_seed(derive(seed, "inspect-batch"))
    return split.take(torch.randperm(len(split), generator=generator)[:count])
