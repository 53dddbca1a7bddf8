"""Claims about training steps: captured ones give the same bits, and none waits for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from mnist_cli.checkpoints.checkpoint import DataInfo
from mnist_cli.checkpoints.digest import digests
from mnist_cli.config.schema import TrainConfig, compose, find_config, from_file
from mnist_cli.data.batches import Batching, DeviceLoader
from mnist_cli.data.split import cut_validation
from mnist_cli.devices.device import compute_settings, resolve_precision
from mnist_cli.proving.claims import Claims, Outcome, Subject
from mnist_cli.proving.recorded_steps import NoReads, RecordingCapturer
from mnist_cli.training import snapshot
from mnist_cli.training.compute import Compute
from mnist_cli.training.graphed import Capturer, CudaCapturer, Graphed
from mnist_cli.training.guard import DeferredGuard
from mnist_cli.training.loop import fit
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.state import TrainState, fresh_state
from mnist_cli.training.step import Stepper

PRESETS = ("default", "fast")
"""Together they cover SGD and Muon, and steps with and without batch norm and augmentation."""
BATCHES, BATCH_SIZE = 20, 32
"""Enough for both sizes of graph, eight steps and one."""


class _Run:
    """A short run of a preset on the device, one epoch, no files."""

    def __init__(self, preset: str, subject: Subject) -> None:
        self.config = _shortened(preset)
        data, device = subject.data, subject.device
        parts = cut_validation(
            data.train, val_size=0, train_size=self.config.train_size, seed=self.config.seed
        )
        self.loader = DeviceLoader(
            Batching.of(self.config), parts.train.to(device), data.normalisation
        )
        precision = resolve_precision(self.config.precision, device)
        compute = Compute(device, precision)
        self.state: TrainState = fresh_state(self.config, compute, len(data.spec.classes))
        # The guard for CUDA, which reads nothing back within an epoch.
        self.state.guard = DeferredGuard(device, self.state.optimizers)
        self._data = data

    def train(self, capturer: Capturer | None) -> dict[str, str]:
        """Train, and return a hash of each part of the result."""
        for _ in fit(self.state, self.loader, None, self._data.normalisation, capturer):
            pass
        spec = self._data.spec
        info = DataInfo(spec.name, "", spec.classes, spec.mean, spec.std)
        return digests(snapshot.capture(self.state, info, self.loader.generator))


def _shortened(preset: str) -> TrainConfig:
    config = compose([from_file(find_config(preset))])
    short: dict[str, Any] = {
        "epochs": 1,
        "batch_size": BATCH_SIZE,
        "train_size": BATCHES * BATCH_SIZE,
        "val_size": 0,
        "loader": "device",
        "halves": False,  # as on a GPU
        "cuda_graph": True,  # a step that is not captured is an error, not a notice
    }
    return config.model_copy(update=short)


def claims(subject: Subject) -> Claims:
    """Claims about captured steps and about waiting, for each preset."""
    kind = _kind(subject.device)
    captured = {
        f"steps {kind} against steps one by one, {preset}": partial(check_captured, subject, preset)
        for preset in PRESETS
    }
    return captured | {
        f"no wait for the device within an epoch, {preset}": partial(check_waits, subject, preset)
        for preset in PRESETS
    }


def check_captured(subject: Subject, preset: str) -> Outcome:
    """Captured and replayed steps give the same bits as steps taken one by one."""
    with compute_settings(subject.device, deterministic=True):
        plain = _Run(preset, subject).train(None)
        captured = _Run(preset, subject).train(_capturer(subject.device))
    differing = [part for part in plain if plain[part] != captured[part]]
    return Outcome(
        passed=not differing,
        figure=f"{', '.join(differing)} differ"
        if differing
        else f"{BATCHES} steps, every bit equal",
        values={"steps": BATCHES, "differing": differing},
    )


def _kind(device: torch.device) -> str:
    return "captured in a CUDA graph" if device.type == "cuda" else "recorded and replayed"


def _capturer(device: torch.device) -> Capturer:
    return CudaCapturer(device) if device.type == "cuda" else RecordingCapturer()


def check_waits(subject: Subject, preset: str) -> Outcome:
    """No step of an epoch reads a value back to the host, taken one by one or captured.

    An epoch's first steps are not checked: they bring its order to the device, and capture.
    """
    device = subject.device
    for capturer in (None, _capturer(device)):
        run = _Run(preset, subject)
        stepper = Stepper(run.state, LearningRate(run.config, run.loader.batches))
        run.state.model.train()
        with compute_settings(device):
            steps = _steps(stepper, run.loader, capturer)
            next(steps)
            with NoReads(), _no_synchronisation(device):
                for _ in steps:
                    pass
    return Outcome(
        passed=True,
        figure=f"{run.loader.batches} steps one by one and {_kind(device)}, no value read back",
        values={"steps": run.loader.batches},
    )


def _steps(stepper: Stepper, loader: DeviceLoader, capturer: Capturer | None) -> Iterator[object]:
    """The steps of an epoch; if captured, of the second epoch, since the first one captures."""
    if capturer is None:
        return stepper.epoch(loader)
    graphed = Graphed(stepper, loader, capturer)
    for _ in graphed.epoch():
        pass
    stepper.state.epoch, stepper.state.batch = 1, 0
    return graphed.epoch()


@contextlib.contextmanager
def _no_synchronisation(device: torch.device) -> Iterator[None]:
    """On CUDA, make torch raise at every operation that synchronises."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
