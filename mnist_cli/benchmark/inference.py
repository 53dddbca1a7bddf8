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


@dataclass(frozen=True)
class InferenceResult:
    """Every recipe's network, and the machine."""

    machine: Mapping[str, Any]
    summaries: Sequence[InferenceSummary]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"machine": self.machine, "recipes": [asdict(one) for one in self.summaries]}


@dataclass(frozen=True)
class InferenceBenchmark:
    """The evaluation of each recipe's network."""

    recipes: Sequence[Recipe]
    data_dir: Path

    def run(self) -> Iterator[InferenceSummary]:
        """Evaluate each recipe in a separate process, the batch sizes in turn.

        The weights are the untrained ones of seed 0: their values do not change the cost.

        Raises:
            MnistError: a worker failed; its own error is passed on.
        """
        for recipe in self.recipes:
            order = {
                "settings": {**recipe.settings, "seed": 0},
                "data_dir": str(self.data_dir),
                "batch_sizes": list(BATCH_SIZES),
                "repeats": recipe.repeats,
            }
            result = launch(recipe.name, "inference", order, recipe.worker).result
            batches = tuple(_summary(**batch) for batch in result["batches"])
            yield InferenceSummary(recipe.name, recipe.repeats, batches, result["details"])

    def result(self, runs: Sequence[InferenceSummary]) -> InferenceResult:
        """The result of all recipes, from the summaries of :meth:`run`."""
        return InferenceResult(machine([one.details for one in runs]), runs)


def _summary(batch_size: int, images: int, seconds: Sequence[float]) -> BatchSummary:
    return BatchSummary(batch_size, images, Spread.of([images / one for one in seconds]))
