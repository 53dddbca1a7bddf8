"""``mnist bench``: the order of runs, the figures made of them, and one real small benchmark."""

from __future__ import annotations

import math
import shlex
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from program import Run

from mnist_cli.benchmark import machine, measure
from mnist_cli.benchmark import recipes as summary
from mnist_cli.benchmark.measure import Measurement, Recipe
from mnist_cli.benchmark.spread import Spread
from mnist_cli.benchmark.worker_process import Answer
from mnist_cli.cli.help_pages import EXAMPLES
from mnist_cli.commands.bench import WORKER
from mnist_cli.report import bench_tables


def recipes(*counts: int) -> list[Recipe]:
    return [Recipe(f"r{number}", {}, count, "no.worker") for number, count in enumerate(counts)]


def measured(
    name: str, seed: int, epochs: list[tuple[float, float]], process: float
) -> Measurement:
    seconds, accuracy = epochs[-1]
    memory = (10 * (seed + 1), 0)
    return Measurement(name, seed, tuple(epochs), seconds, process, 1000.0, accuracy, *memory, {})


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_every_recipe_has_its_turns_in_order(counts: list[int]) -> None:
    turns = measure.turns(recipes(*counts))
    assert len(turns) == sum(counts)
    for recipe in recipes(*counts):
        assert [seed for one, seed in turns if one.name == recipe.name] == [*range(recipe.repeats)]


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 20))
def test_equal_recipes_alternate_and_a_rare_one_is_in_the_middle(count: int) -> None:
    names = [recipe.name for recipe, _ in measure.turns(recipes(count, count))]
    assert names == ["r0", "r1"] * count
    rare = [recipe.name for recipe, _ in measure.turns(recipes(4, 1))]
    assert rare.index("r1") == 2


def test_the_target_is_reached_at_the_first_epoch_that_does() -> None:
    one = measured("a", 0, [(1.0, 0.98), (2.0, 0.991), (3.0, 0.985)], 9.0)
    assert one.seconds_to(0.99) == 2.0
    assert one.seconds_to(0.98) == 1.0
    assert one.seconds_to(0.995) is None


RUNS = [
    measured("quick", 0, [(1.0, 0.992)], 4.0),
    measured("slow", 0, [(5.0, 0.97), (10.0, 0.993)], 20.0),
    measured("quick", 1, [(3.0, 0.985)], 5.0),
    measured("quick", 2, [(2.0, 0.991)], 7.0),
]


def test_figures_are_those_of_the_statistics_module() -> None:
    quick, slow = summary.summarise(RUNS, 0.99)
    accuracies = [0.992, 0.985, 0.991]
    assert (quick.name, slow.name) == ("quick", "slow")
    assert (quick.runs, quick.reached) == (3, 2)
    assert quick.to_target == Spread(1.0, 1.5, 2.0)
    assert quick.train_seconds == Spread(1.0, 2.0, 3.0)
    assert quick.process_seconds == Spread(4.0, 5.0, 7.0)
    assert quick.accuracy_mean == pytest.approx(statistics.mean(accuracies))
    assert quick.accuracy_low == 0.985
    error = np.std(accuracies, ddof=1) / math.sqrt(3)
    assert quick.accuracy_error == pytest.approx(error)
    assert slow.accuracy_error is None
    assert (quick.peak_bytes, quick.peak_device_bytes) == (30, 0)
    assert summary.ratios([quick, slow]) == {"slow": pytest.approx(10.0 / 1.5)}


def test_a_recipe_that_never_reaches_the_target_has_no_ratio() -> None:
    summaries = summary.summarise(RUNS, 0.9925)
    assert summaries[0].to_target is None
    assert summary.ratios(summaries) == {}
    assert "slow" not in summary.ratios(list(reversed(summary.summarise(RUNS, 0.9935))))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=8))
def test_recipes_on_the_pareto_line_are_beaten_by_none(points: list[tuple[int, int]]) -> None:
    """Against the definition: none is at least as good in both and better in one."""
    runs = [
        measured(str(place), 0, [(float(seconds), accuracy / 10)], 9.0)
        for place, (seconds, accuracy) in enumerate(points)
    ]
    found = {points[int(name)] for name in summary.pareto(summary.summarise(runs, 0.0))}
    assert found == {
        one
        for one in points
        if not any(other != one and other[0] <= one[0] and other[1] >= one[1] for other in points)
    }


def test_without_a_target_the_table_names_the_recipes_that_none_beats(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [*RUNS, measured("worse", 0, [(11.0, 0.99)], 20.0)]
    result = summary.RecipeResult(0.0, {}, summary.summarise(runs, 0.0), runs)
    assert result.to_plain()["pareto"] == ["quick", "slow"]
    assert [one["reached"] for one in result.to_plain()["recipes"]] == [0, 0, 0]
    bench_tables.show(result)
    printed = capsys.readouterr().out
    assert "reached" not in printed
    assert "train s to it" not in printed
    assert "Pareto-optimal recipes (seconds, accuracy): quick, slow" in printed
    assert bench_tables.line(runs[0], 0.0).startswith("quick seed 0: 99.20% after 1.00 s of")


def test_a_small_benchmark(run: Run, tmp_path: Path) -> None:
    settings = ["train_size=128", "epochs=2", "threads=1", "precision=fp32"]
    recipe = tmp_path / "mine.toml"
    recipe.write_text('dataset = "digits"\nmodel = "conv2"\nval_size = 0\n')
    sets = [word for pair in settings for word in ("--set", pair)]
    picture = tmp_path / "bench.png"
    arguments = ["--target", "1", "--out", picture, "--json", *sets]
    outcome = run("bench", f"{recipe}:1", *arguments)
    assert outcome.code == 0, outcome.err
    document = outcome.document
    (one,) = document["runs"]
    assert len(one["epochs"]) == 2
    assert 0 < one["epochs"][0][0] < one["epochs"][1][0] <= one["train_seconds"] * 1.0001
    assert one["process_seconds"] > one["train_seconds"]
    assert document["recipes"][0]["reached"] == 0
    assert document["machine"]["dataset"] == "digits"
    assert document["machine"]["threads"] == "1"
    assert one["details"]["precision"] == document["machine"]["precision"] == "fp32"
    assert one["peak_bytes"] > one["peak_device_bytes"] == 0
    assert imread(picture).shape[1] > 400
    assert "1 run and a warm-up" not in outcome.err  # with --json only what is wanted
    assert not Path("runs").exists()


def test_how_the_cost_of_one_recipe_grows(run: Run) -> None:
    settings = ["--set", "train_size=96", "--set", "threads=1"]
    outcome = run("bench", "smoke:1", "--scaling", "--factors", "batch", *settings)
    assert outcome.code == 0, outcome.err
    assert "1 training, one after the other" in outcome.err
    table, *said = outcome.out.strip().splitlines()
    assert table.split() == ["batch", "size", "images", "train", "s", "images/s", "memory"]
    assert said[0].split()[:2] == ["16", "16"]
    assert said[1].startswith("batch size: only one value")


def test_how_fast_a_network_evaluates(run: Run) -> None:
    outcome = run("bench", "smoke:2", "--inference", "--set", "threads=1", "--json")
    assert outcome.code == 0, outcome.err
    (one,) = outcome.document["recipes"]
    assert (one["recipe"], one["repeats"], one["details"]["model"]) == ("smoke", 2, "conv2")
    assert [(b["batch_size"], b["images"]) for b in one["batches"]] == [
        *((1, 382), (10, 382), (100, 382))
    ]
    for batch in one["batches"]:
        spread = batch["images_per_second"]
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]


# --- the command, its workers replaced by answers made up here


@dataclass
class Orders:
    """What workers were told, in order; each answers at once."""

    tasks: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, recipe: str, task: str, order: dict[str, Any], worker: str) -> Answer:
        assert worker == WORKER
        self.tasks.append((recipe, task, order))
        return Answer(getattr(self, task)(**order), 9.0)

    def images(self, **_: object) -> dict[str, Any]:
        return {"images": 60_000}

    def steps(self, settings: dict[str, Any], **_: object) -> dict[str, Any]:
        """A second for 10,000 images, at whatever width; two threads are twice as fast."""
        seconds = settings["train_size"] * settings["epochs"] / 10_000
        seconds /= max(settings["threads"], 1)
        return {"train_seconds": seconds, **self._rest(settings["batch_size"] << 20)}

    def inference(self, batch_sizes: list[int], repeats: int, **_: object) -> dict[str, Any]:
        batches = [
            {"batch_size": size, "images": 1000, "seconds": [1.0 + turn for turn in range(repeats)]}
            for size in batch_sizes
        ]
        return {"batches": batches, **self._rest(0)}

    def train(self, settings: dict[str, Any], **_: object) -> dict[str, Any]:
        epochs = [{"seconds": 2.0, "accuracy": 0.98}, {"seconds": 4.0, "accuracy": 0.99}]
        figures = {"train_seconds": 4.0, "images": 8000, "evaluation_seconds": 1.0}
        return {"epochs": epochs, **figures, "accuracy": 0.99, **self._rest(5 << 30)}

    def _rest(self, on_device: int) -> dict[str, Any]:
        words = {"device_name": "H100", "precision": "bf16", "dataset": "mnist", "model": "conv2"}
        return {
            "peak_bytes": 700 << 20,
            "peak_device_bytes": on_device,
            "details": {**words, "threads": 2, "device": "cuda:0"},
        }


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Orders:
    orders = Orders()
    for module in ("measure", "scaling", "inference"):
        monkeypatch.setattr(f"mnist_cli.benchmark.{module}.launch", orders)
    monkeypatch.setattr("mnist_cli.benchmark.scaling.cores", lambda: 2)
    return orders


def test_scaling_tries_every_factor(run: Run, orders: Orders) -> None:
    outcome = run("bench", "fast:2", "--scaling", "--device", "cuda", "--json")
    document = outcome.document
    factors = document["factors"]
    assert [(one["factor"], len(one["points"])) for one in factors] == [
        *(("images", 6), ("batch", 5), ("width", 5), ("threads", 2))
    ]
    powers = [one["law"]["exponent"] for one in factors]
    assert powers == pytest.approx([1.0, 0.0, 0.0, -1.0], abs=1e-9)
    assert document["machine"]["machine"] == "H100"
    assert [task for _, task, _ in orders.tasks] == ["images"] + 2 * 18 * ["steps"]
    assert {order["settings"]["device"] for _, _, order in orders.tasks} == {"cuda"}
    seeds = [order["settings"]["seed"] for _, _, order in orders.tasks[1:]]
    assert seeds == 18 * [0] + 18 * [1]
    assert [run["value"] for run in document["runs"][:2]] == [1000, 3000]


def test_the_examples_of_help_run_as_typed(run: Run, orders: Orders) -> None:
    for typed, _ in EXAMPLES["mnist bench"]:
        outcome = run(*shlex.split(typed)[1:])
        assert outcome.code == 0, outcome.err


def test_scaling_goes_to_all_images_unless_fewer_are_typed(run: Run, orders: Orders) -> None:
    run("bench", "fast", "--scaling", "--factors", "threads", "--json")
    run("bench", "fast", "--scaling", "--factors", "threads", "--set", "train_size=99", "--json")
    counted = [order["settings"] for _, task, order in orders.tasks if task == "images"]
    assert [settings["train_size"] for settings in counted] == [0, 99]
    assert {(one["model"], one["prefer_hard"]) for one in counted} == {("oriented", 0.0)}


def test_scaling_in_words(run: Run, orders: Orders) -> None:
    outcome = run("bench", "--scaling", "--factors", "images,batch", "--out", "grows.png")
    words = outcome.out
    assert (
        "images: seconds grow with the power 1.00 of it (least squares over 6 values; 1 is linear)"
        in words
    )
    assert "16 MiB to 4,096 MiB (256.00 times) over 256 times the batch size" in words
    assert "GPU memory" in words
    assert "600,000" in words
    assert outcome.err.count("images 600,000:") == 1  # once where no runs are named
    assert "11 trainings" in outcome.err
    assert "batch size 4,096: 0.50 s, 20,000 images/s" in outcome.err  # on two threads
    assert imread("grows.png").shape[1] > 600


def test_quiet_says_the_result_only(run: Run, orders: Orders) -> None:
    outcome = run("bench", "fast:3", "--inference", "--quiet")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[1] == ["fast", "conv2", "bf16", "1", "3", "500", "(333-1,000)", "2.00"]
    assert rows[-1][3:6] == ["10,000", "3", "500"]
    assert "measured" not in outcome.err


def test_memory_of_the_device_stands_apart(run: Run, orders: Orders) -> None:
    outcome = run("bench", "fast:1", "--device", "cuda", "--out", "runs.svg")
    assert outcome.code == 0, outcome.err
    assert "1 run and a warm-up" in outcome.err
    heads, row = outcome.out.splitlines()
    assert heads.split()[-3:] == ["memory", "GPU", "memory"]
    assert row.split()[-4:] == ["700", "MiB", "5,120", "MiB"]
    assert "machine H100" in outcome.err
    assert Path("runs.svg").read_text().startswith("<?xml")


def test_recipes_on_different_data_are_both_named() -> None:
    details = [
        {"device_name": "x", "threads": 1, "precision": "fp32", "dataset": name}
        for name in ("mnist", "digits", "mnist")
    ]
    assert machine.machine(details)["dataset"] == "mnist and digits"
    assert machine.machine(details)["threads"] == "1"


@pytest.mark.parametrize(
    ("settings", "code", "kind", "words"),
    [
        (["lr=1e30", "train_size=192"], 6, "non-finite", ["the loss", "Lower the learning rate"]),
        (["device=mps"], 2, "device", ["is not available"]),
    ],
)
def test_a_workers_own_error_and_code_are_passed_on(
    run: Run, settings: list[str], code: int, kind: str, words: list[str]
) -> None:
    sets = [word for pair in settings for word in ("--set", pair)]
    outcome = run("bench", "smoke:1", *sets, "--json")
    assert outcome.code == code
    error = outcome.document["error"]
    assert (error["code"], error["kind"]) == (code, kind)
    for word in ("the recipe 'smoke' failed", *words):
        assert word in error["message"]


def test_a_worker_that_crashes_is_reported_and_leaves_nothing_behind(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", "false")  # exits 1 and says nothing
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = run("bench", "smoke:1")
    assert outcome.code == 1
    assert "the recipe 'smoke' failed: without a message" in outcome.err
    assert not [*tmp_path.glob("mnist-bench-*")]


@pytest.mark.parametrize(("picture", "code"), [("bench.xyz", 2), ("file/bench.png", 5)])
def test_a_picture_that_cannot_be_written_is_refused_before_any_run(
    run: Run, picture: str, code: int
) -> None:
    Path("file").write_text("in the way")
    outcome = run("bench", "smoke:1", "--out", picture)
    assert outcome.code == code
    assert "warm-up" not in outcome.err
