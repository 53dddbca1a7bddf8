"""What ``mnist bench`` measures, each in a process of its own.

Tasks: ``train`` is the real command, files and all, with the test set read after each epoch;
``steps`` is its training alone, after a warm-up in the same process; ``images`` tells how many
there are to train on; ``inference`` evaluates a fresh network at several batch sizes. Prints one
JSON document; :mod:`mnist_cli.benchmark.worker_process` reads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mnist_cli.benchmark.peak_memory import peak_bytes
from mnist_cli.config.names import dataset_label
from mnist_cli.config.schema import Layer, TrainConfig, compose
from mnist_cli.report.training import LearningCurves, TrainingReport
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.expected_errors import expected
from mnist_cli.training.observer import Observer
from mnist_cli.training.run import RunRequest, begin, compute_for, drive
from mnist_cli.training.session import Session

if TYPE_CHECKING:
    from mnist_cli.data.load import LoadedData
    from mnist_cli.training.compute import Compute

Order = Mapping[str, Any]

MOST_BATCHES = 1000
"""Of a pass at one batch size: the thousand single images that this leaves take seconds."""


@dataclass
class TestWatch(Observer):
    """Reads the test set after each epoch, while training's clock stands still.

    ``epochs`` gathers (seconds of training so far, test accuracy); ``seconds`` is what the
    reading cost. Ends the run once the accuracy reaches ``target``, if that is above 0.
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
        self.images += session.loader.images
        self.seconds += perf_counter() - started
        return 0 < self.target <= accuracy


def train(order: Order) -> dict[str, Any]:
    """Train once, as ``mnist train`` does, and say how it went."""
    config = _config(order)
    watch = TestWatch(order["target"])
    report = TrainingReport(silent=True)
    observers = (report, watch, LearningCurves(report))
    request = RunRequest(Path(order["data_dir"]), Path(order["runs"]), observers)
    with begin(config, request) as session:
        summary = drive(session, request)
    assert summary is not None  # one process trains
    return {
        "epochs": watch.epochs,
        "train_seconds": summary.train_seconds,
        "images": watch.images,
        "evaluation_seconds": watch.seconds,
        "accuracy": summary.test.accuracy,
        **_peaks(summary.device),
        "details": {
            **_details(config, summary.device_name),
            "device": summary.device,
            "precision": summary.precision,
            "dataset": dataset_label(summary.dataset),
        },
    }


@dataclass(frozen=True)
class Bench:
    """What a configuration is measured on."""

    config: TrainConfig
    compute: Compute
    data: LoadedData

    @classmethod
    def of(cls, order: Order, *, whole: bool) -> Bench:
        """As the order says; ``whole`` reads the training images too."""
        from mnist_cli.data.load import load

        config = _config(order)
        compute = compute_for(config)
        data = load(config.dataset, Path(order["data_dir"]), whole=whole)
        return cls(config, compute, data)

    @property
    def details(self) -> dict[str, Any]:
        """What must be known of the machine."""
        from mnist_cli.devices.device import describe

        return {
            **_details(self.config, describe(self.compute.device)),
            "device": str(self.compute.device),
            "precision": self.compute.precision.name,
            "dataset": dataset_label(self.data.spec.name),
        }

    def session(self, runs: Path, **changes: Any) -> Session:
        """A fresh run in a directory of its own."""
        from mnist_cli.runs import directory as rundir

        config = self.config.model_copy(update=changes)
        run = rundir.create(runs, self.data.spec.name, config.model)
        return Session(config, self.data, self.compute, run)


def images(order: Order) -> dict[str, Any]:
    """How many images there are to train on."""
    bench = Bench.of(order, whole=True)
    return {"images": bench.session(Path(order["runs"])).train_images}


def steps(order: Order) -> dict[str, Any]:
    """Train once, after two batches that count for nothing; the test set is not read.

    One of the two is of the last batch's size: what torch does once for each shape is done.
    """
    bench = Bench.of(order, whole=True)
    runs = Path(order["runs"])
    images = bench.config.train_size or len(bench.data.train)
    size = bench.config.batch_size
    few = min(size + (images % size or size), images)
    _drive(bench.session(runs, train_size=few, epochs=1))
    session = bench.session(runs)
    _drive(session)
    seconds = session.state.clock.seconds
    return {"train_seconds": seconds, **_peaks(str(bench.compute.device)), "details": bench.details}


def _drive(session: Session) -> None:
    from mnist_cli.base.signals import StopRequest

    for _ in session.events(StopRequest()):
        pass


def inference(order: Order) -> dict[str, Any]:
    """Evaluate a fresh network on the test set, the batch sizes in turn, after a warm-up."""
    from mnist_cli.devices.device import compute_settings

    bench = Bench.of(order, whole=False)
    config = bench.config
    passes = _passes(bench, order["batch_sizes"])
    device = bench.compute.device
    with compute_settings(device, threads=config.threads, deterministic=config.deterministic):
        for one in passes:
            one()
        for _ in range(order["repeats"]):
            for one in passes:
                one.seconds.append(one())
    batches = [
        {"batch_size": one.batch_size, "images": one.images, "seconds": one.seconds}
        for one in passes
    ]
    return {"batches": batches, "details": bench.details}


@dataclass
class Pass:
    """Evaluates ``images`` images at ``batch_size``; called, it says how many seconds it took."""

    batch_size: int
    images: int
    evaluate: Callable[[], object]
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Evaluate; what comes back is on the CPU, so that the device has finished."""
        started = perf_counter()
        self.evaluate()
        return perf_counter() - started


def _passes(bench: Bench, batch_sizes: list[int]) -> list[Pass]:
    from functools import partial

    import torch

    from mnist_cli.training.scoring import predict
    from mnist_cli.training.state import fresh_model

    data = bench.data
    test = data.test.to(bench.compute.device)
    model = fresh_model(bench.config, len(data.spec.classes)).to(bench.compute.device)
    passes = []
    for size in batch_sizes:
        if size > len(test):
            break
        part = test.take(torch.arange(min(len(test), size * MOST_BATCHES)))
        evaluate = partial(
            predict,
            model,
            part,
            data.normalisation,
            batch_size=size,
            precision=bench.compute.precision,
        )
        passes.append(Pass(size, len(part), evaluate))
    return passes


def _config(order: Order) -> TrainConfig:
    return compose([Layer(order["settings"], {})])


def _details(config: TrainConfig, device_name: str) -> dict[str, Any]:
    import torch

    threads = config.threads or torch.get_num_threads()
    return {"model": config.model.label, "device_name": device_name, "threads": threads}


def _peaks(device: str) -> dict[str, int]:
    """Largest memory of this process and, of torch, on a GPU; 0 where nobody tells."""
    import torch

    from mnist_cli.devices.kinds import peak_memory

    return {"peak_bytes": peak_bytes(), "peak_device_bytes": peak_memory(torch.device(device))}


TASKS: Mapping[str, Callable[[Order], dict[str, Any]]] = {
    "train": train,
    "steps": steps,
    "images": images,
    "inference": inference,
}


def main() -> None:
    """Read the order from stdin, do the task, print the result, or the failure expected.

    One that was not expected leaves its traceback on stderr, and exits 1.
    """
    order = json.load(sys.stdin)
    try:
        result = TASKS[sys.argv[1]](order)
    except Exception as error:
        known = expected(error)
        if known is None:
            raise
        result = {
            "error": {"kind": known.kind, "message": known.message, "hint": known.hint},
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
