"""The summary of a finished run, for its folder and ``--json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mnist_cli.runs.results import Score


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        train_seconds: seconds of the steps alone.
        test: score on the test set; for an ensemble, the score of its vote.
        epochs: number of whole epochs.
        steps: number of steps in the run.
        rest: number of those steps after the last whole epoch, if a limit has stopped the run.
        start: the checkpoint that the run started from, if any, and its SHA-256.
    """

    run: str
    checkpoint: str
    dataset: str
    model: str
    epochs: int
    train_seconds: float
    test: Score
    device: str
    device_name: str
    precision: str
    seed: int
    stop_reason: str = ""
    steps: int = 0
    rest: int = 0
    fallback: str = ""
    ensemble: int = 1
    start: str = ""
    start_sha256: str = ""

    def figures(self) -> dict[str, float]:
        """The result on the test set, for a logger."""
        return {"test/accuracy": self.test.accuracy, "test/loss": self.test.loss}

    def to_plain(self) -> dict[str, Any]:
        """As plain values: what ``summary.json`` and ``--json`` hold."""
        return asdict(self)
