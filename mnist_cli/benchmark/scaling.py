"""How the cost of training grows with images, batch size, network width and threads.

A point is one training in a separate process, since peak memory is a process's; points take
turns. Imports no torch: each worker does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp, inf, log
from pathlib import Path
from statistics import linear_regression
from typing import Any

from mnist_cli.base.cores import cores
from mnist_cli.benchmark import ALONE
from mnist_cli.benchmark.machine import machine
from mnist_cli.benchmark.measure import Recipe
from mnist_cli.benchmark.spread import Spread
from mnist_cli.benchmark.worker_process import launch
from mnist_cli.config.choices import SCALABLE, WIDTHS, width_of
from mnist_cli.config.schema import AUGMENTATIONS, TrainConfig
from mnist_cli.errors import UsageError

PARTS = (60, 20, 6, 2, 1)
"""The parts of the training set to try: 1,000, 3,000, 10,000, 30,000 and 60,000 of MNIST."""
PASSES = 10
BATCHES = (16, 64, 256, 1024, 4096)
RELATIVE_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Point:
    """A training to measure: ``value`` of ``factor``, and the configuration that it means."""

    factor: str
    value: float
    images: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class PointRun:
    """The cost of one training of a point; memory as in :class:`~.measure.Measurement`."""

    point: Point
    seed: int
    train_seconds: float
    peak_bytes: int
    peak_device_bytes: int
    details: Mapping[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """As plain values, without the point's long settings."""
        point = self.point
        named = {"factor": point.factor, "value": point.value, "images": point.images}
        return {**named, **{key: value for key, value in vars(self).items() if key != "point"}}


@dataclass(frozen=True)
class PointSummary:
    """All trainings of a point; the memory is the largest."""

    value: float
    images: int
    train_seconds: Spread
    images_per_second: Spread
    peak_bytes: int
    peak_device_bytes: int


@dataclass(frozen=True)
class PowerLaw:
    """y = scale · x^exponent."""

    exponent: float
    scale: float

    @classmethod
    def fit(cls, pairs: Sequence[tuple[float, float]]) -> PowerLaw | None:
        """The law nearest to (x, y) pairs, by least squares of the logarithms; None for one x."""
        if len({x for x, _ in pairs}) < 2:
            return None
        line = linear_regression([log(x) for x, _ in pairs], [log(y) for _, y in pairs])
        return cls(line.slope, _exp(line.intercept))

    def __call__(self, x: float) -> float:
        """The y at ``x``."""
        return float(self.scale * x**self.exponent)


def _exp(power: float) -> float:
    """The exponential; infinity if it is not a float, as for a steep law of two near points."""
    try:
        return exp(power)
    except OverflowError:
        return inf


@dataclass(frozen=True)
class Growth:
    """A factor's points, and the law that their seconds follow; None for a single point."""

    factor: str
    points: tuple[PointSummary, ...]
    law: PowerLaw | None


def check(recipe: Recipe, factors: Sequence[str]) -> None:
    """Check before anything runs that every factor can be tried.

    Raises:
        UsageError: the width is among them, and the recipe's network has only one.
    """
    model = recipe.settings["model"]
    name, _ = width_of(model) or ("", 1.0)
    if "width" in factors and name not in SCALABLE:
        raise UsageError(
            f"the network '{model}' has a fixed width; {', '.join(SCALABLE)} have more",
            "Try the other factors: images, batch, threads.",
        )


def plan(recipe: Recipe, factors: Sequence[str], images: int, cores: int) -> list[Point]:
    """The points to measure, on a sixth of the images except for the factor ``images``.

    Args:
        recipe: its settings hold except for the factor.
        factors: some of :data:`mnist_cli.benchmark.FACTORS`, accepted by :func:`check`.
        images: number of training images.
        cores: the largest number of threads to try.
    """
    base = {**recipe.settings, **ALONE}
    sixth = max(images // 6, 1)
    part = {**base, "train_size": sixth}
    makers = {
        "images": lambda: _by_images(base, images),
        "batch": lambda: _by_batch(part, sixth),
        "width": lambda: _by_width(part, sixth),
        "threads": lambda: _by_threads(part, sixth, cores),
    }
    return [point for factor in factors for point in makers[factor]()]


def _by_images(base: Mapping[str, Any], images: int) -> list[Point]:
    """Points with augmented images, so that ten passes use ten times the number of images.

    Images are augmented as by the recipe, or as by the default recipe if it does not augment.
    """
    if not any(base[key] for key in AUGMENTATIONS):
        usual = TrainConfig()
        base = {**base, **{key: getattr(usual, key) for key in AUGMENTATIONS}}
    sizes = sorted({max(images // part, 1) for part in PARTS})
    points = [Point("images", size, size, {**base, "train_size": size}) for size in sizes]
    longest = {**base, "train_size": images, "epochs": PASSES}
    return [*points, Point("images", PASSES * images, PASSES * images, longest)]


def _by_batch(base: Mapping[str, Any], images: int) -> list[Point]:
    sizes = [size for size in BATCHES if size <= images] or [images]
    return [Point("batch", size, images, {**base, "batch_size": size}) for size in sizes]


def _by_width(base: Mapping[str, Any], images: int) -> list[Point]:
    name, width = width_of(base["model"]) or ("", 1.0)
    widths = [width * times for times in RELATIVE_WIDTHS]
    return [
        Point("width", one, images, {**base, "model": f"{name}x{one:g}"})
        for one in widths
        if WIDTHS[0] <= one <= WIDTHS[1]
    ]


def _by_threads(base: Mapping[str, Any], images: int, cores: int) -> list[Point]:
    counts = sorted({1 << power for power in range(cores.bit_length())} | {cores})
    return [Point("threads", count, images, {**base, "threads": count}) for count in counts]


def growths(runs: Sequence[PointRun]) -> list[Growth]:
    """One growth per factor, in the order of their first runs."""
    grouped: dict[str, dict[float, list[PointRun]]] = {}
    for run in runs:
        grouped.setdefault(run.point.factor, {}).setdefault(run.point.value, []).append(run)
    found = []
    for factor, by_value in grouped.items():
        points = tuple(_summary(value, of_value) for value, of_value in sorted(by_value.items()))
        pairs = [(point.value, point.train_seconds.median) for point in points]
        found.append(Growth(factor, points, PowerLaw.fit(pairs)))
    return found


def _summary(value: float, runs: Sequence[PointRun]) -> PointSummary:
    images = runs[0].point.images
    return PointSummary(
        value=value,
        images=images,
        train_seconds=Spread.of([run.train_seconds for run in runs]),
        images_per_second=Spread.of([images / run.train_seconds for run in runs]),
        peak_bytes=max(run.peak_bytes for run in runs),
        peak_device_bytes=max(run.peak_device_bytes for run in runs),
    )


@dataclass(frozen=True)
class ScalingResult:
    """The growth by each factor, and the machine."""

    recipe: str
    machine: Mapping[str, Any]
    growths: Sequence[Growth]
    runs: Sequence[PointRun]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "recipe": self.recipe,
            "machine": self.machine,
            "factors": [asdict(one) for one in self.growths],
            "runs": [one.to_plain() for one in self.runs],
        }


@dataclass(frozen=True)
class ScalingBenchmark:
    """One recipe at several values of each factor.

    Raises:
        UsageError: see :func:`check`.
    """

    recipe: Recipe
    factors: Sequence[str]
    data_dir: Path

    def __post_init__(self) -> None:
        check(self.recipe, self.factors)

    @cached_property
    def points(self) -> list[Point]:
        """The points to measure; a worker counts the images first, which warms up the disk."""
        images = self._launch("images", {**self.recipe.settings, **ALONE})["images"]
        return plan(self.recipe, self.factors, images, cores())

    def run(self) -> Iterator[PointRun]:
        """Train every point once, then again for each repeat; one process after the other.

        Raises:
            MnistError: a worker failed; its own error is passed on.
        """
        for seed in range(self.recipe.repeats):
            for point in self.points:
                result = self._launch("steps", {**point.settings, "seed": seed})
                yield PointRun(point, seed, **result)

    def _launch(self, task: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        order = {"settings": dict(settings), "data_dir": str(self.data_dir)}
        return launch(self.recipe.name, task, order, self.recipe.worker).result

    def result(self, runs: Sequence[PointRun]) -> ScalingResult:
        """The result of all runs; the machine's threads are taken from the other factors."""
        usual = [one for one in runs if one.point.factor != "threads"] or runs
        where = machine([one.details for one in usual])
        return ScalingResult(self.recipe.name, where, growths(runs), runs)
