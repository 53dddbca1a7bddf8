"""One measured run, in a process of its own: ``mnist train``, with the test set read each epoch.

The run is the real command's, files and all; what reading the test set costs is timed apart, so
that it can be taken out. Prints one JSON document; :mod:`mnist_cli.benchmark.measure` reads it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_cli.commands.training_run import RunRequest, Speaker, train_anew
from mnist_cli.config import Layer, compose
from mnist_cli.errors import MnistError
from mnist_cli.training.session import Session
from mnist_cli.training.state import EpochResult


@dataclass
class TestWatch:
    """Reads the test set after each epoch, while training's clock stands still.

    ``epochs`` gathers (seconds of training so far, test accuracy); ``seconds`` is what the
    reading cost. Ends the run once the accuracy reaches ``target``, if that is above 0.
    """

    __test__ = False  # pytest: the name is a coincidence

    target: float
    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0

    def __call__(self, session: Session, _result: EpochResult) -> bool:
        """Whether the run may end here."""
        started = perf_counter()
        accuracy = session.score_test().accuracy
        self.epochs.append({"seconds": session.state.clock.seconds, "accuracy": accuracy})
        self.images += session.loader.images
        self.seconds += perf_counter() - started
        return 0 < self.target <= accuracy


def run(settings: dict[str, Any], data_dir: Path, target: float) -> dict[str, Any]:
    """Train once and say how it went."""
    started = perf_counter()
    config = compose([Layer(settings, {})])
    watch = TestWatch(target)
    with tempfile.TemporaryDirectory(prefix="mnist-bench-") as runs:
        request = RunRequest(data_dir, Path(runs), Speaker(silent=True), observers=(watch,))
        summary = train_anew(config, request)
    return {
        "epochs": watch.epochs,
        "train_seconds": summary.train_seconds,
        "images": watch.images,
        "evaluation_seconds": watch.seconds,
        "run_seconds": perf_counter() - started,
        "accuracy": summary.test.accuracy,
        "dataset": summary.dataset,
        "device": summary.device,
        "device_name": summary.device_name,
        "precision": summary.precision,
        "peak_bytes": _peak_bytes(),
        "peak_device_bytes": _peak_device_bytes(summary.device),
    }


def _peak_bytes() -> int:
    """Largest resident memory of this process; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_device_bytes(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else 0


def main() -> None:
    """Read the order from stdin, run it, print the result, or the failure that was expected.

    One that was not expected leaves its traceback on stderr, and exits 1.
    """
    order = json.load(sys.stdin)
    try:
        result = run(order["settings"], Path(order["data_dir"]), order["target"])
    except MnistError as error:
        result = {
            "error": {"kind": error.kind, "message": error.message, "hint": error.hint},
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
