"""Images per second of evaluation, by batch size. Imports no torch: each worker does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnist_cli.benchmark.machine import machine
from mnist_cli.benchmark.measure import Recipe
from mnist_cli.benchmark.spread import Spread
from mnist_cli.benchmark.worker_process import launch

BATCH_SIZES = (1, 10, 100, 1000, 10_000)


@dataclass(frozen=True)
class BatchSummary:
    """Passes over ``images`` of the test set in batches of ``batch_size``."""

    batch_size: int
    images: int
    images_per_second: Spread


@dataclass(frozen=True)
class InferenceSummary:
    """A recipe's network, evaluated ``repeats`` times at each batch size."""

    recipe: str
    repeats: int
    batches: tuple[BatchSummary, ...]
    details: Mapping[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure_inference(
    recipes: Sequence[Recipe], data_dir: Path, batch_sizes: Sequence[int] = BATCH_SIZES
) -> Iterator[InferenceSummary]:
    """Evaluate each recipe's fresh network in a process of its own, the batch sizes in turn.

    The weights are the untrained ones of seed 0: their values do not change the cost.

    Raises:
        MnistError: a worker failed; its own error is passed on.
    """
    for recipe in recipes:
        order = {
            "settings": {**recipe.settings, "seed": 0},
            "data_dir": str(data_dir),
            "batch_sizes": list(batch_sizes),
            "repeats": recipe.repeats,
        }
        result = launch(recipe.name, "inference", order, recipe.worker).result
        batches = tuple(_summary(batch) for batch in result["batches"])
        yield InferenceSummary(recipe.name, recipe.repeats, batches, result["details"])


def _summary(batch: Mapping[str, Any]) -> BatchSummary:
    images = batch["images"]
    speeds = [images / seconds for seconds in batch["seconds"]]
    return BatchSummary(batch["batch_size"], images, Spread.of(speeds))


@dataclass(frozen=True)
class InferenceResult:
    """Every recipe's network, and the machine."""

    machine: Mapping[str, Any]
    summaries: Sequence[InferenceSummary]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"machine": self.machine, "recipes": [one.to_plain() for one in self.summaries]}


@dataclass(frozen=True)
class InferenceBenchmark:
    """The evaluation of each recipe's network."""

    recipes: Sequence[Recipe]
    data_dir: Path

    def run(self) -> Iterator[InferenceSummary]:
        """See :func:`measure_inference`."""
        return measure_inference(self.recipes, self.data_dir)

    def result(self, runs: Sequence[InferenceSummary]) -> InferenceResult:
        """Of all recipes."""
        return InferenceResult(machine([one.details for one in runs]), runs)
