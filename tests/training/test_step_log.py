"""The rows every few steps, limits within an epoch, and accumulated batches."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bits import SECONDS, differences, rows
from rounding import relative_error
from small_runs import MOVED, NORMALISATION, Run, config, loader_of, session_in, state_of, train

from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.errors import CheckpointError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.history import read_metrics
from mnist_cli.runs.results import EpochResult
from mnist_cli.training import step_log
from mnist_cli.training.loop import fit
from mnist_cli.training.step_log import interval


def finish(folder: Path, **values: Any) -> None:
    """Train in the folder, from its checkpoint if there is one."""
    last, settings = folder / "last.pt", config(**values)
    resume = checkpoints.read(last) if last.exists() else None
    for _ in session_in(folder, settings, resume=resume).events(StopRequest()):
        pass


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_row_of_each_step_is_what_torch_computes(smoothing: float) -> None:
    """conv2 has neither dropout nor batch norm, so its loss before a step can be computed again."""
    settings = config(model="conv2", label_smoothing=smoothing, epochs=1)
    state, expected = state_of(settings), []
    batches = iter(list(loader_of(settings).epoch(0)))
    steps = fit(state, loader_of(settings), None, NORMALISATION)
    for images, labels in batches:
        scores = state.model(images)
        losses = [F.cross_entropy(scores, labels, label_smoothing=s) for s in (smoothing, 0.0)]
        accuracy = (scores.argmax(1) == labels).double().mean()
        expected.append((*(float(one.detach()) for one in losses), float(accuracy)))
        next(steps)
    (result,) = [event for event in steps if isinstance(event, EpochResult)]
    found = [(row.loss, row.plain_loss, row.accuracy) for row in state.log.rows]
    assert [row.step for row in state.log.rows] == [1, 2, 3]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    sizes = (8, 8, 7)
    mean = sum(n * one[1] for n, one in zip(sizes, expected, strict=True)) / 23
    assert result.plain_loss == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "batches", "every"),
    [
        ({"epochs": 1}, 215, 2),
        ({"epochs": 60}, 430, 258),
        ({"epochs": 300}, 10, 10),  # a row an epoch
        ({"epochs": 3}, 20, 1),
        ({"epochs": 1, "max_steps": 50}, 1000, 1),
        ({"epochs": 1, "log_every": 7}, 215, 7),
        ({"epochs": 1, "log_every": 999}, 215, 215),
    ],
)
def test_a_run_has_about_a_hundred_rows(values: dict[str, Any], batches: int, every: int) -> None:
    assert interval(config(**values), batches) == every


@pytest.mark.parametrize("limit", [{"max_steps": 1}, {"max_steps": 4}, {"max_time": 1e-9}])
def test_a_run_that_a_limit_stopped_goes_on_to_the_same_bits(
    limit: dict[str, float], tmp_path: Path
) -> None:
    recipe = {"schedule": "onecycle", "model": "conv4", **MOVED}
    finish(tmp_path / "whole", **recipe)
    part = tmp_path / "part"
    finish(part, **recipe, **limit)
    stopped = checkpoints.read(part / "last.pt")
    assert stopped.document["position"]["step"] == limit.get("max_steps", 1)
    assert len(rows(part)) == stopped.document["position"]["epoch"] + 1
    assert rows(part)[-1]["val_accuracy"] is not None
    finish(part, **recipe, **limit)  # it stays where it is
    assert checkpoints.read(part / "last.pt").document["position"] == stopped.document["position"]
    finish(part, **recipe)
    for name in ("last.pt", "best.pt"):
        found = [torch.load(tmp_path / of / name, weights_only=True) for of in ("whole", "part")]
        assert differences(*found, ignore=(*SECONDS, "max_steps")) == []  # best.pt is of before
    for kind in ("step", "epoch"):
        of = [rows(tmp_path / run, kind) for run in ("whole", "part")]
        assert differences(*of, ignore=SECONDS) == []


def test_a_longer_run_keeps_its_rows_and_goes_on_in_its_own_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps per epoch: a row each 2 steps in one epoch, each 3 in two."""
    monkeypatch.setattr(step_log, "POINTS", 2)
    short, long = tmp_path / "short", tmp_path / "long"
    finish(short, epochs=1)
    before = rows(short, "step")
    assert [row["step"] for row in before] == [2]
    for folder in (short, long):
        finish(folder, epochs=2)
    assert [row["step"] for row in rows(long, "step")] == [3, 6]
    assert [row["step"] for row in rows(short, "step")] == [2, 6]
    assert differences(rows(short, "step")[0], before[0]) == []
    assert differences(rows(short), rows(long), ignore=SECONDS) == []
    last = [torch.load(run / "last.pt", weights_only=True) for run in (short, long)]
    for one in last:
        del one["steps"]
    assert differences(*last, ignore=SECONDS) == []


@pytest.mark.parametrize("extra", [{}, {"label_smoothing": 0.1}, {"optimizer": "adam"}])
def test_accumulated_batches_take_the_step_of_one_large_batch(extra: dict[str, Any]) -> None:
    """23 images: the epoch's last step has 7 of them, as a batch of 3 and one of 4 would not."""
    recipe = {"model": "conv2", "lr": 0.01, **extra}
    large = train(state_of(config(batch_size=8, **recipe)))
    small = train(state_of(config(batch_size=3, accumulate=3, **recipe)))
    assert small.step == 2 * 3  # 9, 9 and 5 images
    small = train(state_of(config(batch_size=4, accumulate=2, **recipe)))
    assert small.step == large.step == 6
    for one, other in zip(small.model.parameters(), large.model.parameters(), strict=True):
        assert relative_error(one, other) < 1e-4
    for one, other in zip(small.log.rows, large.log.rows, strict=True):
        assert astuple(one) == pytest.approx(astuple(other), rel=1e-3)


def test_rows_of_older_programs_have_no_kind(tmp_path: Path) -> None:
    finish(tmp_path)
    run = RunDirectory(tmp_path)
    now = read_metrics(run)
    assert (len(now.epochs), len(now.steps)) == (2, 6)
    old = [
        {k: v for k, v in row.items() if k not in ("kind", "train_plain_loss")}
        for row in rows(tmp_path)
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in old))
    then = read_metrics(run)
    assert then.steps == ()
    assert [one.loss for one in then.epochs] == [one.loss for one in now.epochs]


@pytest.mark.parametrize("row", ['{"kind": "step"}', '{"kind": "other"}', '{"kind": "epoch"}'])
def test_a_garbled_row_is_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(row)
    with pytest.raises(CheckpointError, match="line 1, is not"):
        read_metrics(RunDirectory(tmp_path))


def test_a_checkpoint_without_steps_resumes(tmp_path: Path) -> None:
    run, whole = Run(config()), Run(config())
    for _ in whole.events():
        pass
    next(run.events())
    document = run.document()
    del document["steps"]
    resumed = Run(config())
    resumed.restore(document, tmp_path)
    for _ in resumed.events():
        pass
    assert [row.step for row in resumed.state.log.rows] == [2, 3, 4, 5, 6]
    left = [{**one.document(), "steps": None} for one in (resumed, whole)]
    assert differences(*left, ignore=SECONDS) == []
