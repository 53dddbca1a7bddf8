"""TensorBoard's events, read back by TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mnist_cli.errors import UsageError
from mnist_cli.runs.results import EpochResult, Score
from mnist_cli.training.tensorboard import TAGS, open_log

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def result(epoch: int, val: bool = True) -> EpochResult:
    judged = Score(0.5 / epoch, 0.9, 10) if val else None
    return EpochResult(epoch, 10 * epoch, 1.0 / epoch, 0.8, judged, 0.1, 2.0, 300.0, 1.5)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_every_figure_of_an_epoch_is_there_at_its_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_log(tmp_path) as log:
        log.epoch(result(1))
        log.epoch(result(2))
    found = scalars(tmp_path)
    assert set(found) == set(TAGS)
    assert found["loss/train"] == [(10, 1.0), (20, 0.5)]
    assert found["loss/validation"] == [(10, 0.5), (20, 0.25)]
    assert found["accuracy/validation"] == [(10, pytest.approx(0.9)), (20, pytest.approx(0.9))]


def test_without_a_validation_set_its_curves_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_log(tmp_path) as log:
        log.epoch(result(1, val=False))
    assert set(TAGS) - set(scalars(tmp_path)) == {"loss/validation", "accuracy/validation"}


def test_resuming_hides_what_was_written_beyond_and_keeps_what_came_before(tmp_path: Path) -> None:
    """Killed in epoch 3 after writing epoch 2, but last.pt is from the end of epoch 1."""
    pytest.importorskip("tensorboard")
    with open_log(tmp_path) as log:
        log.epoch(result(1))
        log.epoch(result(2))
    with open_log(tmp_path, first_step=10) as log:
        log.epoch(result(2, val=False))
    assert [step for step, _ in scalars(tmp_path)["loss/train"]] == [10, 20]
    assert [step for step, _ in scalars(tmp_path)["loss/validation"]] == [10]


def test_no_folder_means_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_log(None) as log:
        log.epoch(result(1))
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_not_installed_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as caught, open_log(tmp_path):
        pass
    assert "not installed" in caught.value.message
    assert "mnist-cli[tensorboard]" in caught.value.hint
