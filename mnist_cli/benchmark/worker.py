"""The process that ``mnist bench`` measures: does one task, and prints one JSON document.

Task ``train`` is a whole run, files included, that reads the test set after each epoch. ``steps``
is only training, after a warm-up in the same process. ``images`` counts the training images.
``inference`` evaluates a fresh network at several batch sizes.
:mod:`mnist_cli.benchmark.worker_process` starts it and reads the document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from mnist_cli.base.signals import StopRequest
from mnist_cli.benchmark.peak_memory import peak_bytes
from mnist_cli.config.names import dataset_label
from mnist_cli.config.schema import Layer, TrainConfig, compose
from mnist_cli.data.load import LoadedData, load
from mnist_cli.devices.device import compute_settings, describe
from mnist_cli.devices.kinds import peak_memory
from mnist_cli.runs import directory
from mnist_cli.runs.results import EpochResult
from mnist_cli.training import scoring
from mnist_cli.training.compute import Compute
from mnist_cli.training.expected_errors import expected
from mnist_cli.training.observer import Observer
from mnist_cli.training.run import RunRequest, begin, compute_for, drive
from mnist_cli.training.session import Session
from mnist_cli.training.state import fresh_model, normalisation_of

Order = Mapping[str, Any]
"""The settings, the folders and the arguments of a task, as plain values."""

MOST_BATCHES = 1000
"""Batches of a pass at most: a thousand single images take seconds."""


@dataclass
class TestWatch(Observer):
    """Reads the test set after each epoch, while training's clock stands still.

    Attributes:
        target: the run ends once the accuracy reaches it, if it is above 0.
        epochs: seconds of training until each epoch's end, and the test accuracy there.
        seconds: what the reading took.
        images: number of images trained on.
    """

    __test__ = False  # pytest: the name is a coincidence

    target: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0

    def epoch(self, session: Session, _result: EpochResult) -> bool:
        """Whether the run may end here."""
        started = perf_counter()
        accuracy = session.score_test().accuracy
        self.epochs.append({"seconds": session.state.clock.seconds, "accuracy": accuracy})
        rest = session.state.running.images  # of the epoch that a limit has ended
        self.images += rest or session.loader.images
        self.seconds += perf_counter() - started
        return 0 < self.target <= accuracy


def train(order: Order, observers: tuple[Observer, ...] = ()) -> dict[str, Any]:
    """Train once, followed by observers, and report times, accuracies and memory."""
    watch = TestWatch(order["target"])
    request = RunRequest(Path(order["data_dir"]), Path(order["runs"]), (*observers, watch))
    with begin(_config(order), request) as session:
        summary = drive(session, request)
    assert summary is not None  # one process trains
    return {
        "epochs": watch.epochs,
        "train_seconds": summary.train_seconds,
        "images": watch.images,
        "evaluation_seconds": watch.seconds,
        "accuracy": summary.test.accuracy,
        **_peaks(session.compute),
        "details": Bench(session.config, session.compute, session.data).details,
    }


@dataclass(frozen=True)
class Bench:
    """A configuration with its device and data."""

    config: TrainConfig
    compute: Compute
    data: LoadedData

    @classmethod
    def of(cls, order: Order, *, whole: bool) -> Bench:
        """As the order says; ``whole`` reads the training images too."""
        config = _config(order)
        data = load(config.dataset, Path(order["data_dir"]), whole=whole)
        return cls(config, compute_for(config), data)

    def session(self, runs: Path, **changes: Any) -> Session:
        """A fresh run in a directory of its own."""
        config = self.config.model_copy(update=changes)
        run = directory.create(runs, self.data.spec.name, config.model)
        return Session(config, self.data, self.compute, run)

    @property
    def details(self) -> dict[str, Any]:
        """What the figures depend on."""
        return {
            "model": self.config.model.label,
            "device_name": describe(self.compute.device),
            "threads": self.config.threads or torch.get_num_threads(),
            "device": str(self.compute.device),
            "precision": self.compute.precision.name,
            "dataset": dataset_label(self.data.spec.name),
        }


def images(order: Order) -> dict[str, Any]:
    """The number of training images."""
    bench = Bench.of(order, whole=True)
    return {"images": bench.session(Path(order["runs"])).train_images}


def steps(order: Order) -> dict[str, Any]:
    """Train once, after two batches that do not count; the test set is not read.

    One of the two has the last batch's size, so that torch has done what it does once per shape.
    """
    bench = Bench.of(order, whole=True)
    runs = Path(order["runs"])
    images = bench.config.train_size or len(bench.data.train)
    size = bench.config.images_per_step
    few = min(size + (images % size or size), images)
    _drive(bench.session(runs, train_size=few, epochs=1))
    session = bench.session(runs)
    _drive(session)
    seconds = session.state.clock.seconds
    return {"train_seconds": seconds, **_peaks(bench.compute), "details": bench.details}


def _drive(session: Session) -> None:
    for _ in session.events(StopRequest()):
        pass


def inference(order: Order) -> dict[str, Any]:
    """Evaluate a fresh network on the test set, the batch sizes in turn, after a warm-up."""
    bench = Bench.of(order, whole=False)
    config, data, compute = bench.config, bench.data, bench.compute
    device, precision = compute.device, compute.precision
    test = data.test.to(device)
    model = fresh_model(config, len(data.spec.classes)).to(device)
    normalisation = normalisation_of(config.model, data)
    parts = {
        size: test.take(torch.arange(min(len(test), size * MOST_BATCHES)))
        for size in order["batch_sizes"]
        if size <= len(test)
    }
    seconds: dict[int, list[float]] = {size: [] for size in parts}
    with compute_settings(device, threads=config.threads, deterministic=config.deterministic):
        for _ in range(1 + order["repeats"]):
            for size, part in parts.items():
                started = perf_counter()
                # The scores are on the CPU, so the device is done.
                scoring.predict(model, part, normalisation, batch_size=size, precision=precision)
                seconds[size].append(perf_counter() - started)
    batches = [
        {"batch_size": size, "images": len(part), "seconds": seconds[size][1:]}
        for size, part in parts.items()
    ]
    return {"batches": batches, "details": bench.details}


def _config(order: Order) -> TrainConfig:
    return compose([Layer(order["settings"], {})])


def _peaks(compute: Compute) -> dict[str, int]:
    """The largest memory of this process and, of torch, on the device; 0 if unknown."""
    return {"peak_bytes": peak_bytes(), "peak_device_bytes": peak_memory(compute.device)}


def main(task: str, order: Order, *observers: Observer) -> None:
    """Do a task, and print its result or its expected failure.

    An unexpected one leaves its traceback on stderr, and exit code 1.
    """
    tasks: Mapping[str, Callable[[Order], dict[str, Any]]] = {
        "train": partial(train, observers=observers),
        "steps": steps,
        "images": images,
        "inference": inference,
    }
    try:
        result = tasks[task](order)
    except Exception as error:
        known = expected(error)
        if known is None:
            raise
        result = {"error": {"kind": known.kind, "message": known.message, "hint": known.hint}}
    sys.stdout.write(json.dumps(result) + "\n")
