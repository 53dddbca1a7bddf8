"""The plan of a sweep, its folder and its figures."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomlkit

from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import NonFiniteError, OutOfMemory, OutputError, UsageError
from mnist_cli.runs import sweeps
from mnist_cli.runs.sweep_results import Mean, SweepResult
from mnist_cli.runs.sweeps import Cell, Sweep, open_sweep


def cells(*rates: float, seeds: int = 2) -> tuple[Cell, ...]:
    configs = [TrainConfig(lr=rate, seed=seed) for rate in rates for seed in range(seeds)]
    return sweeps.plan(["lr"], configs)


def ended(sweep: Sweep, number: int, accuracy: float | None = None) -> Path:
    """The folder of a run with a checkpoint, and with a result if ``accuracy`` is given."""
    cell = sweep.cells[number - 1]
    folder = sweep.root / f"{number:04d}-{sweep.run_name(cell)}"
    folder.mkdir(parents=True)
    (folder / "last.pt").touch()
    (folder / "config.toml").write_text(tomlkit.dumps(cell.config.to_plain()))
    if accuracy is not None:
        test = {"loss": 1.0, "accuracy": accuracy, "count": 100}
        (folder / "summary.json").write_text(json.dumps({"test": test}))
    return folder


def test_values_are_split_at_commas() -> None:
    axes, others = sweeps.axes_of(["lr=0.01, 0.03", "batch-size=32,64", "epochs=2"])
    assert axes == {"lr": ("0.01", "0.03"), "batch_size": ("32", "64")}
    assert others == ["epochs=2"]
    first, *_, last = sweeps.grid(axes)
    assert first == {"lr": "0.01", "batch_size": "32"}
    assert last == {"lr": "0.03", "batch_size": "64"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["lr=0.1,"], "lr=0.1,: a value is empty"),
        (["lr=,"], "a value is empty"),
        (["lr=0.1,0.2", "lr=0.3"], "lr is given twice"),
        (["batch-size=1", "batch_size=2,3"], "batch_size is given twice"),
    ],
)
def test_what_makes_no_grid(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweeps.axes_of(texts)


def test_what_makes_no_sweep() -> None:
    with pytest.raises(
        UsageError, match=r"runs 1 and 3 of the sweep are the same: lr 0\.1, seed 0"
    ):
        cells(0.1, 0.1)
    with pytest.raises(UsageError, match="has 10,001 runs; at most 10,000"):
        sweeps.check_size(10_001)


def test_the_same_plan_goes_on_until_it_is_complete(tmp_path: Path) -> None:
    first = open_sweep(tmp_path, "", cells(0.1))
    with first.locked():
        first.save()
        ended(first, 1, 0.9)
    assert open_sweep(tmp_path, "", cells(0.1)).name == first.name == "sweep-1"
    assert open_sweep(tmp_path, "", cells(0.2)).name == "sweep-2"
    ended(first, 2, 0.8)
    assert open_sweep(tmp_path, "", cells(0.1)).name == "sweep-1"  # killed before its table
    first.table.touch()
    assert open_sweep(tmp_path, "", cells(0.1)).name == "sweep-2"  # complete: trained anew


def test_a_named_sweep_stays_the_same(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path, "rates", cells(0.1))
    with sweep.locked():
        sweep.save()
        for number in (1, 2):
            ended(sweep, number, 0.9)
    sweep.table.touch()
    assert open_sweep(tmp_path, "rates", cells(0.1)).complete
    with pytest.raises(UsageError, match="the sweep rates already exists, with other runs"):
        open_sweep(tmp_path, "rates", cells(0.2))
    with pytest.raises(UsageError, match="'a/b' cannot name a run"):
        open_sweep(tmp_path, "a/b", cells(0.1))


def test_a_name_has_room_for_the_runs_number(tmp_path: Path) -> None:
    assert open_sweep(tmp_path, "x" * 62, cells(0.1)).name == "x" * 62
    for name, seeds in (("x" * 63, 2), ("x" * 62, 10)):
        with pytest.raises(UsageError, match=rf"'{name}\.{seeds}' cannot name a run"):
            open_sweep(tmp_path, name, cells(0.1, seeds=seeds))


@pytest.mark.parametrize("other", [{"seed": 7}, {"lr": 0.3}, {"epochs": 9}])
def test_a_run_of_other_settings_is_not_the_sweeps(tmp_path: Path, other: dict[str, Any]) -> None:
    sweep = Sweep(tmp_path, "s", cells(0.1))
    ours = ended(sweep, 1, 0.9)
    theirs = tmp_path / "0009-s.1"
    shutil.copytree(ours, theirs)
    run = sweep.run_of(sweep.cells[0])
    assert run is not None
    assert run.path == theirs  # the newest one
    config = sweep.cells[0].config.model_copy(update=other)
    (theirs / "config.toml").write_text(tomlkit.dumps(config.to_plain()))
    run = sweep.run_of(sweep.cells[0])
    assert run is not None
    assert run.path == ours


def test_a_run_on_the_bundled_digits_is_the_sweeps(tmp_path: Path) -> None:
    """It trains on all images, whatever the sweep prefers."""
    configs = [TrainConfig(train_size=9000, prefer_hard=value) for value in (2.0, 4.0)]
    plan = sweeps.plan(["prefer_hard"], configs)
    on_all = {"train_size": 0, "prefer_hard": 0.0}
    assert all(cell.matches(cell.config.to_plain() | on_all) for cell in plan)


def test_an_edited_network_is_another_plan(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text("one")
    own = [TrainConfig(model=f"{source}:Net", seed=seed) for seed in range(2)]
    before = sweeps.digest(sweeps.plan([], own))
    source.write_text("two")
    assert sweeps.digest(sweeps.plan([], own)) != before


@pytest.mark.parametrize("garbled", ["", "[]", "{}", "[" * 99_999, '{"plan": 1}'])
def test_a_garbled_plan_is_written_anew(tmp_path: Path, garbled: str) -> None:
    sweep = open_sweep(tmp_path, "s", cells(0.1))
    with sweep.locked():
        sweep.save()
        ended(sweep, 1, 0.9)
    (sweep.folder / "sweep.json").write_text(garbled)
    again = open_sweep(tmp_path, "s", cells(0.1))
    assert (again.failures, again.finished(again.cells[0])) == ({}, True)


def test_only_a_failure_that_would_repeat_is_kept(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path, "s", cells(0.1))
    with sweep.locked():
        sweep.save()
        ended(sweep, 1)
        sweep.fail(sweep.cells[0], NonFiniteError("the loss is nan"))
        sweep.fail(sweep.cells[1], OutOfMemory("too little"))
    assert list(open_sweep(tmp_path, "s", cells(0.1)).failures) == [1]


def test_a_checkpoint_precedes_an_empty_folder_of_the_same_run(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "s", cells(0.1))
    folder = ended(sweep, 1)
    (tmp_path / "0009-s.1").mkdir()
    (tmp_path / "0010-s.11").mkdir()
    run = sweep.run_of(sweep.cells[0])
    assert run is not None
    assert run.path == folder


def test_one_process_at_a_time(tmp_path: Path) -> None:
    one, other = (Sweep(tmp_path, "s", cells(0.1)) for _ in range(2))
    with one.locked(), pytest.raises(OutputError, match="another process"), other.locked():
        pass
    assert not (tmp_path / "sweeps").exists()  # no run has begun


def result(tmp_path: Path) -> SweepResult:
    sweep = Sweep(tmp_path, "s", cells(0.1, 0.2, seeds=3))
    for number, accuracy in {1: 0.9, 2: 0.94, 3: 0.98, 4: 0.5}.items():
        ended(sweep, number, accuracy)
    ended(sweep, 5)
    sweep.failures[5] = {"code": 6, "kind": "non-finite", "message": "nan"}
    return SweepResult.of(sweep)


def test_mean_and_standard_error(tmp_path: Path) -> None:
    """0.90, 0.94, 0.98: standard deviation 0.04 (n - 1), over the root of 3."""
    first, second = result(tmp_path).settings
    mean, alone = first.mean("accuracy"), second.mean("accuracy")
    assert mean is not None
    assert math.isclose(mean.mean, 0.94)
    assert mean.error is not None
    assert math.isclose(mean.error, 0.04 / math.sqrt(3))
    assert alone == Mean(0.5, None, 1)


@pytest.mark.parametrize(
    ("scores", "best", "equals"),
    [
        ((0.9, 0.8, 0.7), {"lr": 0}, []),
        ((0.8, 0.9, 0.9), {"lr": 1}, [{"lr": 2}]),
        ((0.9, None, 0.9), {"lr": 0}, [{"lr": 2}]),
        ((0.0, 0.0, 0.0), {"lr": 0}, [{"lr": 1}, {"lr": 2}]),
        ((0.9, None, None), None, []),  # there is nothing to compare it with
    ],
)
def test_the_best_setting_and_its_equals(
    scores: tuple[float | None, ...], best: dict[str, Any] | None, equals: list[dict[str, Any]]
) -> None:
    def run(number: int, score: float | None) -> Any:
        return SimpleNamespace(cell=SimpleNamespace(values={"lr": number}), figure=lambda _: score)

    sweep: Any = SimpleNamespace()
    found = SweepResult(sweep, tuple(run(*pair) for pair in enumerate(scores)))
    assert (found.best.values if found.best else None) == best
    assert [one.values for one in found.equals] == equals


def test_the_document(tmp_path: Path) -> None:
    found = result(tmp_path)
    document: dict[str, Any] = found.to_plain()
    assert [run["state"] for run in document["runs"]] == [
        *("finished", "finished", "finished", "finished", "failed", "not begun")
    ]
    assert document["runs"][4]["error"]["code"] == found.code == 6
    assert document["settings"][1]["finished"] == 1
    found.write_table(tmp_path / "t.csv")
    head, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert head == "run,lr,seed,state,accuracy,loss,val_accuracy,seconds"
    assert rows[0] == "0001-s.1,0.1,0,finished,0.9,1.0,,"
    assert rows[5] == ",0.2,2,not begun,,,,"
