"""Runs small enough for a test: a tiny data set, a tiny configuration, a run directory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rounding
import torch

from mnist_cli import catalogue
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.checkpoint import DataInfo
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.batches import Batching, Loader, build_loader
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import Normalisation, Split, cut_validation
from mnist_cli.devices.device import Precision
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training import snapshot
from mnist_cli.training.compute import Compute
from mnist_cli.training.graphed import Capturer
from mnist_cli.training.halving import pair_of
from mnist_cli.training.loop import fit
from mnist_cli.training.session import Session
from mnist_cli.training.state import TrainState, fresh_model, fresh_state

CPU = torch.device("cpu")
FP32 = Precision("fp32", "cpu")
NORMALISATION = Normalisation(0.1307, 0.3081)
DATA = DataInfo("mnist", "sha256:0", tuple("0123456789"), 0.1307, 0.3081)
PLAIN = {"shift": 0, "rotate": 0, "scale": 0, "shear": 0}
MOVED = {"shift": 2, "rotate": 10, "scale": 0.1, "shear": 5, "erase": 0.5}


def split(count: int, seed: int = 0, name: str = "train") -> Split:
    """Noise, a bright row for each label: easy to learn, and no two alike."""
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 1, 28, 28), generator=source, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=source)
    images[torch.arange(count), 0, 2 * labels + 4, 4:24] = 255
    return Split(name, images, labels, torch.arange(count))


def config(**values: Any) -> TrainConfig:
    """Two epochs of three batches of eight on the notebook's network, dropout and all."""
    small = {
        **PLAIN,
        "model": "notebook",
        "epochs": 2,
        "batch_size": 8,
        "val_size": 6,
        "eval_batch_size": 4,
        "optimizer": "sgd",
        "lr": 0.05,
        "label_smoothing": 0.0,
        "schedule": "constant",
        "precision": "fp32",
        "device": "cpu",
        "halves": False,
        "seed": 5,
    }
    return TrainConfig(**{**small, **values})


def loaded(train: int = 29, test: int = 11, fallback: str = "") -> LoadedData:
    return LoadedData(
        catalogue.get("mnist"), lambda: split(train), split(test, 1, "test"), fallback
    )


def loader_of(settings: TrainConfig, count: int = 23) -> Loader:
    return build_loader(Batching.of(settings), split(count), NORMALISATION)


def compute_of(settings: TrainConfig, precision: Precision = FP32) -> Compute:
    return Compute(CPU, precision, pair=pair_of(settings, CPU))


def state_of(settings: TrainConfig, precision: Precision = FP32) -> TrainState:
    return fresh_state(settings, compute_of(settings, precision), 10)


def in_float64(state: TrainState) -> TrainState:
    """Make a run that has not begun compute in float64."""
    rounding.in_float64(state.model)
    if state.ema is not None:
        rounding.in_float64(state.ema.double().module)
    return state


def train(state: TrainState, val: Split | None = None) -> TrainState:
    """Train a run to its end."""
    for _ in fit(state, loader_of(state.config), val, NORMALISATION):
        pass
    return state


def alone(settings: TrainConfig, number: int) -> TrainState:
    """One network with the weights that member ``number`` begins with."""
    together = fresh_model(settings, 10)
    assert isinstance(together, Ensemble)
    state = state_of(settings.model_copy(update={"ensemble": 1}))
    for part in (state.model, state.eval_model):
        part.load_state_dict(together.member(number).state_dict())
    return state


class Run:
    """A run that can be inspected and left after any event."""

    def __init__(self, settings: TrainConfig, images: int = 23, device: torch.device = CPU) -> None:
        precision = Precision(settings.precision, device.type)
        compute = Compute(device, precision, pair=pair_of(settings, device))
        self.loader = build_loader(Batching.of(settings), split(images).to(device), NORMALISATION)
        self.state = fresh_state(settings, compute, 10)
        self.val = split(6, 2, "val").to(device)
        self.capturer: Capturer | None = None

    def events(self) -> Iterator[object]:
        return fit(self.state, self.loader, self.val, NORMALISATION, self.capturer)

    def document(self) -> dict[str, Any]:
        """Its checkpoint, which later steps do not change."""
        return copy.deepcopy(snapshot.capture(self.state, DATA, self.loader.generator))

    def restore(self, document: dict[str, Any], folder: Path) -> list[str]:
        """Go on from a document that has been a file; what differs."""
        path = folder / "last.pt"
        checkpoints.write(document, path)
        return snapshot.restore(checkpoints.read(path), self.state, self.loader.generator)


def validation(settings: TrainConfig) -> Split | None:
    return cut_validation(
        split(29), val_size=settings.val_size, train_size=0, seed=settings.seed
    ).val


def session_in(folder: Path, settings: TrainConfig, **values: Any) -> Session:
    folder.mkdir(parents=True, exist_ok=True)
    data = values.pop("data", None) or loaded()
    return Session(settings, data, compute_of(settings), RunDirectory(folder), **values)
