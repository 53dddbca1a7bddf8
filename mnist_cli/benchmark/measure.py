"""Runs workers in turn and gathers what they measured. Imports no torch: each worker does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_cli.errors import MnistError


@dataclass(frozen=True)
class Recipe:
    """A configuration under a name, and how often it is to be run."""

    name: str
    settings: Mapping[str, Any]
    repeats: int


@dataclass(frozen=True)
class Measurement:
    """One run of one recipe.

    ``epochs`` are (seconds of training, test accuracy) at each epoch's end; ``process_seconds``
    is the whole process's wall time, without what reading the test set in between cost.
    """

    recipe: str
    seed: int
    epochs: tuple[tuple[float, float], ...]
    train_seconds: float
    process_seconds: float
    images_per_second: float
    accuracy: float
    peak_bytes: int
    details: Mapping[str, Any]

    def seconds_to(self, target: float) -> float | None:
        """Seconds of training until the test accuracy reached ``target``; None if it did not."""
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
        data_dir: where the data lie.
        target: runs end once the test accuracy reaches this; 0 never.
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
    order = {
        "settings": {**recipe.settings, "seed": seed},
        "data_dir": str(data_dir),
        "target": target,
    }
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mnist_cli.commands.bench_worker"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    wall = perf_counter() - started
    if done.returncode:
        raise _crashed(recipe, done.returncode, done.stderr)
    result = json.loads(done.stdout)
    if "error" in result:
        raise _failed(recipe, **result["error"])
    return Measurement(
        recipe=recipe.name,
        seed=seed,
        epochs=tuple((epoch["seconds"], epoch["accuracy"]) for epoch in result["epochs"]),
        train_seconds=result["train_seconds"],
        process_seconds=wall - result["evaluation_seconds"],
        images_per_second=result["images"] / result["train_seconds"],
        accuracy=result["accuracy"],
        peak_bytes=max(result["peak_bytes"], result["peak_device_bytes"]),
        details={key: result[key] for key in ("dataset", "device", "device_name", "precision")},
    )


def _failed(recipe: Recipe, kind: str, message: str, hint: str) -> MnistError:
    """What the worker expected to fail, as the same error with the same exit code."""
    failure = next((one for one in _kinds(MnistError) if one.kind == kind), MnistError)
    return failure(f"the recipe '{recipe.name}' failed: {message}", hint)


def _kinds(failure: type[MnistError]) -> Iterator[type[MnistError]]:
    yield failure
    for below in failure.__subclasses__():
        yield from _kinds(below)


def _crashed(recipe: Recipe, code: int, stderr: str) -> MnistError:
    """A worker that was killed, or met a bug whose last line is shown."""
    last = stderr.strip().splitlines()[-1:] or ["it said nothing"]
    ended = f"killed by signal {-code}" if code < 0 else last[0]
    return MnistError(
        f"the recipe '{recipe.name}' failed: {ended}",
        f"Try it alone: mnist train --config {recipe.name}",
    )
