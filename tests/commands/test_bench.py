"""``mnist bench``: the order of runs, the figures made of them, and one real small benchmark."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from program import Run

from mnist_cli.benchmark import measure, summary
from mnist_cli.benchmark.measure import Measurement, Recipe


def recipes(*counts: int) -> list[Recipe]:
    return [Recipe(f"r{number}", {}, count) for number, count in enumerate(counts)]


def measured(
    name: str, seed: int, epochs: list[tuple[float, float]], process: float
) -> Measurement:
    seconds, accuracy = epochs[-1]
    return Measurement(name, seed, tuple(epochs), seconds, process, 1000.0, accuracy, 10, {})


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_every_recipe_has_its_turns_in_order(counts: list[int]) -> None:
    turns = measure.turns(recipes(*counts))
    assert len(turns) == sum(counts)
    for recipe in recipes(*counts):
        assert [seed for one, seed in turns if one.name == recipe.name] == [*range(recipe.repeats)]


@given(st.integers(1, 20))
def test_equal_recipes_alternate(count: int) -> None:
    names = [recipe.name for recipe, _ in measure.turns(recipes(count, count))]
    assert names == ["r0", "r1"] * count


def test_a_rare_recipe_stands_in_the_middle_of_the_others() -> None:
    names = [recipe.name for recipe, _ in measure.turns(recipes(4, 1))]
    assert names.index("r1") == 2


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
    assert quick.to_target == summary.Spread(1.0, 1.5, 2.0)
    assert quick.train_seconds == summary.Spread(1.0, 2.0, 3.0)
    assert quick.process_seconds == summary.Spread(4.0, 5.0, 7.0)
    assert quick.accuracy_mean == pytest.approx(statistics.mean(accuracies))
    assert quick.accuracy_low == 0.985
    error = np.std(accuracies, ddof=1) / math.sqrt(3)
    assert quick.accuracy_error == pytest.approx(error)
    assert slow.accuracy_error is None
    assert summary.ratios([quick, slow]) == {"slow": pytest.approx(10.0 / 1.5)}


def test_a_recipe_that_never_reaches_the_target_has_no_ratio() -> None:
    summaries = summary.summarise(RUNS, 0.9925)
    assert summaries[0].to_target is None
    assert summary.ratios(summaries) == {}
    assert "slow" not in summary.ratios(list(reversed(summary.summarise(RUNS, 0.9935))))


def test_a_small_benchmark(run: Run, tmp_path: Path) -> None:
    settings = ["train_size=128", "epochs=2", "threads=1", "precision=fp32"]
    recipe = tmp_path / "mine.toml"
    recipe.write_text('dataset = "digits"\nmodel = "conv2"\nval_size = 0\n')
    sets = [word for pair in settings for word in ("--set", pair)]
    picture = tmp_path / "bench.png"
    arguments = ["--target", "1", "--picture", picture, "--json", *sets]
    outcome = run("bench", f"{recipe}:1", *arguments)
    assert outcome.code == 0, outcome.err
    document = outcome.document
    (one,) = document["runs"]
    assert len(one["epochs"]) == 2
    assert 0 < one["epochs"][0][0] < one["epochs"][1][0] <= one["train_seconds"] * 1.0001
    assert one["process_seconds"] > one["train_seconds"]
    assert document["recipes"][0]["reached"] == 0
    assert document["machine"]["dataset"] == "digits"
    assert imread(picture).shape[1] > 400
    assert not Path("runs").exists()


def test_a_recipe_that_fails_says_why(run: Run) -> None:
    outcome = run("bench", "smoke:1", "--set", "train_size=99999", "--json")
    assert outcome.code == 2
    assert outcome.document["error"]["kind"] == "usage"
    assert "train_size" in outcome.err


@pytest.mark.parametrize(
    ("settings", "code", "kind", "words"),
    [
        (["lr=1e30", "train_size=192"], 6, "non-finite", ["the loss", "Lower the learning rate"]),
        (["device=mps"], 2, "device", ["cannot be had"]),
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


def test_a_worker_that_crashes_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")  # exits 1 and says nothing
    outcome = run("bench", "smoke:1")
    assert outcome.code == 1
    assert "the recipe 'smoke' failed: it said nothing" in outcome.err


@pytest.mark.parametrize(("picture", "code"), [("bench.xyz", 2), ("file/bench.png", 5)])
def test_a_picture_that_cannot_be_written_is_refused_before_any_run(
    run: Run, picture: str, code: int
) -> None:
    Path("file").write_text("in the way")
    outcome = run("bench", "smoke:1", "--picture", picture)
    assert outcome.code == code
    assert "1 runs" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["fast:0"], "number of runs"),
        (["fast:x"], "number of runs"),
        (["fast:1", "fast:2"], "named twice"),
        (["fsat:1"], "fast"),
        (["smoke:1", "--target", "2"], "--target"),
    ],
)
def test_bad_input_is_one_message(run: Run, arguments: list[str], word: str) -> None:
    outcome = run("bench", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert word in outcome.err
