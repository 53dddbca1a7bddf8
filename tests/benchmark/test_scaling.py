"""How cost grows: which trainings are compared, and the law that is made of their seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mnist_cli.benchmark import FACTORS
from mnist_cli.benchmark.measure import Recipe
from mnist_cli.benchmark.scaling import (
    Growth,
    Point,
    PointRun,
    PowerLaw,
    check,
    growths,
    plan,
)
from mnist_cli.config.choices import preset_names, width_of
from mnist_cli.config.schema import Layer, TrainConfig, compose, find_config, from_file
from mnist_cli.errors import UsageError
from mnist_cli.report.bench_tables import sentences

MNIST = 60_000
CHANGED = {
    "images": {"train_size", "epochs"},
    "batch": {"batch_size"},
    "width": {"model"},
    "threads": {"threads"},
}


def recipe(name: str = "fast", **settings: object) -> Recipe:
    config = compose([from_file(find_config(name)), Layer(settings, {})])
    return Recipe(name, config.to_plain(), 1, "no.worker")


def points(name: str, factor: str, images: int = MNIST, cores: int = 2) -> list[Point]:
    return plan(recipe(name), [factor], images, cores)


def test_the_images_of_mnist_are_those_of_the_promise() -> None:
    tried = points("fast", "images")
    assert [point.value for point in tried] == [1000, 3000, 10_000, 30_000, 60_000, 600_000]
    assert [point.settings["epochs"] for point in tried] == [1] * 5 + [10]
    assert all(p.settings["train_size"] * p.settings["epochs"] == p.images for p in tried)
    assert tried[-1].settings["train_size"] == MNIST


ALL_BUT_WIDTH = [(name, factor) for name in preset_names() for factor in FACTORS[:2] + FACTORS[3:]]


@pytest.mark.parametrize(
    ("name", "factor"), [*ALL_BUT_WIDTH, ("fast", "width"), ("default", "width")]
)
def test_points_of_a_factor_differ_in_nothing_else(name: str, factor: str) -> None:
    tried = points(name, factor)
    assert len({point.value for point in tried}) == len(tried) >= 2
    for key in TrainConfig.model_fields:
        values = {point.settings.get(key) for point in tried}
        assert len(values) == 1 or key in CHANGED[factor]


@pytest.mark.parametrize("name", preset_names())
def test_every_point_is_a_configuration_that_trains_on_all_its_images(name: str) -> None:
    factors = [factor for factor in FACTORS if factor != "width"]
    for point in plan(recipe(name), factors, MNIST, 4):
        config = compose([Layer(point.settings, {})])
        assert config.val_size == config.early_stopping == config.target_accuracy == 0
        assert config.train_size * config.epochs == point.images
        assert not config.drop_last
        assert config.batch_size <= config.train_size


def test_where_a_recipe_augments_it_keeps_its_way() -> None:
    own = recipe("fast", rotate=3.0)
    assert {p.settings["rotate"] for p in plan(own, ["images"], MNIST, 2)} == {3.0}
    assert {p.settings["shift"] for p in plan(own, ["images"], MNIST, 2)} == {0.0}
    assert {p.settings["rotate"] for p in points("fast", "images")} == {TrainConfig().rotate}
    assert {p.settings["rotate"] for p in points("fast", "batch")} == {0.0}


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 10**6), st.integers(1, 300))
def test_however_few_the_images_and_cores_are(images: int, cores: int) -> None:
    for point in plan(recipe(), FACTORS, images, cores):
        config = compose([Layer(point.settings, {})])
        assert 1 <= config.train_size <= images
        assert point.factor != "batch" or config.batch_size <= max(config.train_size, 1)
    threads = [p.value for p in plan(recipe(), ["threads"], images, cores)]
    assert threads[0] == 1
    assert threads[-1] == cores
    assert threads == sorted(set(threads))
    assert len(threads) <= 10


def test_widths_are_relative_to_the_recipes_own() -> None:
    assert [p.settings["model"] for p in points("default", "width")] == [
        *("conv4x0.25", "conv4x0.5", "conv4x1", "conv4x2", "conv4x4")
    ]
    wide = plan(recipe("fast", model="conv2x4"), ["width"], MNIST, 2)
    assert [width_of(p.settings["model"]) for p in wide] == [
        *(("conv2", 1.0), ("conv2", 2.0), ("conv2", 4.0), ("conv2", 8.0))
    ]


def test_a_network_of_one_width_is_refused_for_the_width_alone() -> None:
    with pytest.raises(UsageError, match="'notebook' has a fixed width"):
        check(recipe("notebook"), FACTORS)
    check(recipe("notebook"), ["images", "batch", "threads"])
    check(recipe("fast"), FACTORS)


# --- the law


PAIRS = st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-4, 1e4)), min_size=2, max_size=8)


@settings(deadline=None)  # a busy machine is no failure
@given(PAIRS)
def test_the_law_is_numpys_least_squares(pairs: list[tuple[int, float]]) -> None:
    x, y = np.log(np.array(pairs, dtype=float)).T
    assume(np.ptp(x) > 0.1)  # where all x nearly coincide, polyfit's own accuracy is the limit
    law = PowerLaw.fit(pairs)
    assert law is not None
    slope, intercept = np.polyfit(x, y, 1)
    assert law.exponent == pytest.approx(slope, rel=1e-6, abs=1e-6)
    if intercept < 709:  # e to the power of more is no float
        assert np.log(law.scale) == pytest.approx(intercept, rel=1e-6, abs=1e-5)


def test_a_law_too_steep_for_its_scale() -> None:
    """Two near points of very different seconds, as a random test once found."""
    law = PowerLaw.fit([(19427, 1235.0), (21471, 1.0)])
    assert law is not None
    assert law.exponent == pytest.approx(np.log(1235) / np.log(19427 / 21471))
    assert law.scale == np.inf


# --- what is made of the runs


def ran(factor: str, value: float, images: int, seconds: float, **memory: int) -> PointRun:
    point = Point(factor, value, images, {})
    peaks = {"peak_bytes": 700 * 2**20, "peak_device_bytes": 0, **memory}
    return PointRun(point, 0, seconds, details={}, **peaks)


RUNS = [
    *(ran("images", n, n, n / 1000 * times) for times in (1.0, 1.5, 4.0) for n in (1000, 3000)),
    ran("threads", 1, 500, 2.0),
    ran("threads", 2, 500, 1.0, peak_bytes=770 * 2**20),
    ran("batch", 16, 500, 2.0),
]


def made() -> Sequence[Growth]:
    return growths(RUNS)


def test_runs_are_gathered_by_factor_and_value() -> None:
    images, threads, batch = made()
    assert (images.factor, threads.factor, batch.factor) == ("images", "threads", "batch")
    small, large = images.points
    seconds = [1.0, 1.5, 4.0]
    assert (small.value, large.value) == (1000, 3000)
    spread = small.train_seconds
    assert (spread.low, spread.median, spread.high) == (1.0, statistics.median(seconds), 4.0)
    speed = small.images_per_second
    assert speed.median == pytest.approx(statistics.median(1000 / s for s in seconds))
    assert threads.points[1].peak_bytes == 770 * 2**20
    assert images.law is not None
    assert images.law.exponent == pytest.approx(1.0)
    assert batch.law is None


def test_the_sentences_say_it() -> None:
    images, threads, batch = ([*sentences(growth)] for growth in made())
    assert images[0].startswith(
        "images: seconds grow with the power 1.00 of it (fitted to two values, "
    )
    assert images[1].startswith("the last is 10 passes over all images")
    assert "1.00 times" in images[2]
    assert "power -1.00" in threads[0]
    assert "700 MiB to 770 MiB (1.10 times) over 2 times the threads" in threads[1]
    assert batch == ["batch size: only one value, which shows no growth"]
