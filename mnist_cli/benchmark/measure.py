"""Seconds to a test accuracy: runs recipes in turn. Imports no torch: each worker does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cli.benchmark.worker_process import launch


@dataclass(frozen=True)
class Recipe:
    """A configuration under a name.

    Attributes:
        name: the name in tables and messages.
        settings: the configuration as plain values.
        repeats: number of counted runs.
        worker: the module that runs it in a separate process.
    """

    name: str
    settings: Mapping[str, Any]
    repeats: int
    worker: str


@dataclass(frozen=True)
class Measurement:
    """One run of one recipe.

    Attributes:
        recipe: the recipe's name.
        seed: the run's seed.
        epochs: (seconds of training, test accuracy) at the end of each epoch.
        train_seconds: of the steps alone.
        process_seconds: of the whole process, without reading the test set in between.
        images_per_second: of training.
        accuracy: on the test set at the end, a fraction of 1.
        peak_bytes: the process's largest resident memory; 0 if the system does not report it.
        peak_device_bytes: the largest that torch had on the GPU; 0 without one.
        details: device, precision, threads and data set.
    """

    recipe: str
    seed: int
    epochs: tuple[tuple[float, float], ...]
    train_seconds: float
    process_seconds: float
    images_per_second: float
    accuracy: float
    peak_bytes: int
    peak_device_bytes: int
    details: Mapping[str, Any]

    def seconds_to(self, target: float) -> float | None:
        """Seconds of training until the test accuracy reached ``target``; None if it did not.

        None too for a target of 0, which no run ends at.
        """
        if not target:
            return None
        return next((seconds for seconds, accuracy in self.epochs if accuracy >= target), None)


def turns(recipes: Sequence[Recipe]) -> list[tuple[Recipe, int]]:
    """The order of the runs: recipes alternate, each spread evenly; with its seed, from 0."""
    places = [
        ((turn + 0.5) / recipe.repeats, position, recipe, turn)
        for position, recipe in enumerate(recipes)
        for turn in range(recipe.repeats)
    ]
    return [(recipe, turn) for _, _, recipe, turn in sorted(places, key=lambda place: place[:2])]


def measure(
    recipes: Sequence[Recipe], data_dir: Path, target: float, *, warm_up: bool = True
) -> Iterator[Measurement]:
    """Run every recipe as often as it asks, one process after the other.

    Args:
        recipes: what to run; seeds count from 0 for each.
        data_dir: the folder of the data sets.
        target: runs end once the test accuracy reaches this; 0 never ends one.
        warm_up: run the first recipe once before, uncounted, so that no recipe pays for
            reading torch and the data from a cold disk.

    Raises:
        MnistError: a worker failed; its own error is passed on.
    """
    if warm_up and recipes:
        _measure_once(recipes[0], 0, data_dir, target)
    for recipe, seed in turns(recipes):
        yield _measure_once(recipe, seed, data_dir, target)


def _measure_once(recipe: Recipe, seed: int, data_dir: Path, target: float) -> Measurement:
    settings = {**recipe.settings, "seed": seed}
    order = {"settings": settings, "data_dir": str(data_dir), "target": target}
    answer = launch(recipe.name, "train", order, recipe.worker)
    result = answer.result
    return Measurement(
        recipe=recipe.name,
        seed=seed,
        epochs=tuple((epoch["seconds"], epoch["accuracy"]) for epoch in result["epochs"]),
        train_seconds=result["train_seconds"],
        process_seconds=answer.seconds - result["evaluation_seconds"],
        images_per_second=result["images"] / result["train_seconds"],
        accuracy=result["accuracy"],
        peak_bytes=result["peak_bytes"],
        peak_device_bytes=result["peak_device_bytes"],
        details=result["details"],
    )
