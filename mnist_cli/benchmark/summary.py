"""From measurements to figures: medians, spreads and ratios. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from typing import Any

from mnist_cli.benchmark.measure import Measurement


@dataclass(frozen=True)
class Spread:
    """The smallest, the median and the largest of some figures."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), median(values), max(values))


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe's runs in figures.

    ``reached`` counts the runs whose test accuracy got to the target, and ``to_target`` is the
    spread of the seconds of training that these took. ``accuracy_error`` is the standard error
    of the mean accuracy, None of a single run. Memory is the largest of all runs.
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

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def summarise(measurements: Sequence[Measurement], target: float) -> list[RecipeSummary]:
    """One summary a recipe, in the order of their first runs."""
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
    """How many times longer than the first recipe each one takes to the target, by medians."""
    base = summaries[0].to_target if summaries else None
    if base is None:
        return {}
    return {
        one.name: one.to_target.median / base.median
        for one in summaries[1:]
        if one.to_target is not None
    }
