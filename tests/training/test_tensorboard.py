"""TensorBoard's events, read back by TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import EpochResult, Score, StepRow
from mnist_cli.training.step_log import StepLog
from mnist_cli.training.tensorboard import STEP_TAGS, TAGS, EventLog

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def result(epoch: int, val: bool = True) -> EpochResult:
    judged = Score(0.5 / epoch, 0.9, 10) if val else None
    figures = (1.0 / epoch, 0.8, judged, 0.1, 2.0, 300.0, 1.5)
    return EpochResult(epoch, 10 * epoch, *figures, plain_loss=0.9 / epoch)


def row(step: int) -> StepRow:
    return StepRow(1 + (step - 1) // 10, step, step / 10, 3.0 / step, 2.0 / step, 0.5, 1.0, 0.1)


def write(folder: Path, *results: EpochResult, step: int = 0) -> None:
    """What a run writes that begins at ``step``."""
    pytest.importorskip("tensorboard")
    log_of_steps = StepLog([row(one) for one in range(1, step + 1)])
    state = SimpleNamespace(step=step, log=log_of_steps)
    session: Any = SimpleNamespace(run=RunDirectory(folder), state=state, steps=log_of_steps.rows)
    log = EventLog()
    with log.following(session):
        for one in results:
            session.steps = [row(number) for number in range(1, one.step + 1)]
            assert not log.epoch(session, one)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(RunDirectory(folder).tensorboard))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_every_figure_of_an_epoch_is_there_at_its_step(tmp_path: Path) -> None:
    write(tmp_path, result(1), result(2))
    found = scalars(tmp_path)
    assert set(found) == {*TAGS, *STEP_TAGS}
    assert found["loss/train"] == [(10, 1.0), (20, 0.5)]
    assert found["loss/validation"] == [(10, 0.5), (20, 0.25)]
    assert found["accuracy/validation"] == [(10, pytest.approx(0.9)), (20, pytest.approx(0.9))]


def test_without_a_validation_set_its_curves_are_missing(tmp_path: Path) -> None:
    write(tmp_path, result(1, val=False))
    assert set(TAGS) - set(scalars(tmp_path)) == {"loss/validation", "accuracy/validation"}


def test_resuming_hides_what_was_written_beyond_and_keeps_what_came_before(tmp_path: Path) -> None:
    """Killed in epoch 3 after writing epoch 2, but last.pt is from the end of epoch 1."""
    write(tmp_path, result(1), result(2))
    write(tmp_path, result(2, val=False), step=10)
    assert [step for step, _ in scalars(tmp_path)["loss/train"]] == [10, 20]
    assert [step for step, _ in scalars(tmp_path)["loss/validation"]] == [10]


def test_a_resumed_run_adds_only_its_own_steps(tmp_path: Path) -> None:
    write(tmp_path, result(1))
    write(tmp_path, result(2), step=10)
    expected = [(step, pytest.approx(2.0 / step)) for step in range(1, 21)]
    assert scalars(tmp_path)["steps/loss_without_smoothing"] == expected
