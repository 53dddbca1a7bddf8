"""Recipes side by side: their runs, and the medians, spreads and ratios of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_cli.benchmark.machine import machine
from mnist_cli.benchmark.measure import Measurement, Recipe, measure
from mnist_cli.benchmark.spread import Spread


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe's runs in figures; memory is the largest of all runs.

    ``reached`` counts the runs whose test accuracy reached the target, and ``to_target`` is the
    spread of their seconds of training until then. ``accuracy_error`` is the standard error of the
    mean accuracy, None for a single run.
    """

    name: str
    runs: int
    reached: int
    to_target: Spread | None
    train_seconds: Spread
    process_seconds: Spread
    images_per_second: Spread
    accuracy_mean: float
    accuracy_low: float
    accuracy_error: float | None
    peak_bytes: int
    peak_device_bytes: int


def summarise(measurements: Sequence[Measurement], target: float) -> list[RecipeSummary]:
    """One summary per recipe, in the order of their first runs."""
    by_name: dict[str, list[Measurement]] = {}
    for one in measurements:
        by_name.setdefault(one.recipe, []).append(one)
    return [_summary(name, runs, target) for name, runs in by_name.items()]


def _summary(name: str, runs: Sequence[Measurement], target: float) -> RecipeSummary:
    times = [seconds for run in runs if (seconds := run.seconds_to(target)) is not None]
    accuracies = [run.accuracy for run in runs]
    return RecipeSummary(
        name=name,
        runs=len(runs),
        reached=len(times),
        to_target=Spread.of(times) if times else None,
        train_seconds=Spread.of([run.train_seconds for run in runs]),
        process_seconds=Spread.of([run.process_seconds for run in runs]),
        images_per_second=Spread.of([run.images_per_second for run in runs]),
        accuracy_mean=mean(accuracies),
        accuracy_low=min(accuracies),
        accuracy_error=stdev(accuracies) / len(runs) ** 0.5 if len(runs) > 1 else None,
        peak_bytes=max(run.peak_bytes for run in runs),
        peak_device_bytes=max(run.peak_device_bytes for run in runs),
    )


def ratios(summaries: Sequence[RecipeSummary]) -> dict[str, float]:
    """How many times as long as the first recipe each takes to the target, by medians."""
    base = summaries[0].to_target if summaries else None
    if base is None:
        return {}
    return {
        one.name: one.to_target.median / base.median
        for one in summaries[1:]
        if one.to_target is not None
    }


def pareto(summaries: Sequence[RecipeSummary]) -> list[str]:
    """The recipes that no other one beats in both seconds of training and accuracy, fastest first.

    By the median of the seconds and the mean of the accuracies.
    """
    best, names = -1.0, []
    for one in sorted(summaries, key=lambda one: (one.train_seconds.median, -one.accuracy_mean)):
        if one.accuracy_mean > best:
            best = one.accuracy_mean
            names.append(one.name)
    return names


@dataclass(frozen=True)
class RecipeResult:
    """All runs of all recipes, and their summaries, on this machine."""

    target: float
    machine: Mapping[str, Any]
    summaries: Sequence[RecipeSummary]
    runs: Sequence[Measurement]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "target": self.target,
            "machine": self.machine,
            "recipes": [asdict(one) for one in self.summaries],
            "slower_than_first": ratios(self.summaries),
            "pareto": [] if self.target else pareto(self.summaries),
            "runs": [asdict(one) for one in self.runs],
        }


@dataclass(frozen=True)
class RecipeBenchmark:
    """Recipes side by side, each run until its test accuracy reaches ``target``, or to its end for 0."""

    recipes: Sequence[Recipe]
    target: float
    data_dir: Path

    def run(self) -> Iterator[Measurement]:
        """Run them and yield each measurement; see :func:`measure`."""
        return measure(self.recipes, self.data_dir, self.target)

    def result(self, runs: Sequence[Measurement]) -> RecipeResult:
        """The result of all runs, from the measurements of :meth:`run`."""
        where = machine([one.details for one in runs])
        return RecipeResult(self.target, where, summarise(runs, self.target), runs)
