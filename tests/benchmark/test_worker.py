"""What the workers of ``mnist bench`` measure, run here in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.benchmark import worker
from mnist_cli.config.schema import compose, find_config, from_assignments, from_file
from mnist_cli.errors import UsageError
from mnist_cli.training import scoring
from mnist_cli.training.session import Session

SETTINGS = ["train_size=100", "batch_size=32", "val_size=0", "precision=fp32", "threads=1"]


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    """What is asked for: a small training on the bundled digits."""
    layers = [from_file(find_config("smoke")), from_assignments([*SETTINGS, "epochs=2"])]
    runs = tmp_path / "runs"
    runs.mkdir()
    return {
        "settings": compose(layers).to_plain(),
        "data_dir": str(tmp_path / "nowhere"),
        "runs": str(runs),
    }


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """The sessions that train, as they begin to."""
    sessions: list[Session] = []
    events = Session.events

    def watched(session: Session, stop: Any) -> Any:
        sessions.append(session)
        return events(session, stop)

    monkeypatch.setattr(Session, "events", watched)
    return sessions


def test_steps_are_counted_after_a_warm_up_on_both_sizes_of_batch(
    order: dict[str, Any], trained: list[Session]
) -> None:
    result = worker.steps(order)
    warm_up, measured = trained
    assert (warm_up.train_images, warm_up.loader.batches, warm_up.state.epoch) == (36, 2, 1)
    assert (measured.train_images, measured.loader.batches, measured.state.epoch) == (100, 4, 2)
    assert result["train_seconds"] == measured.state.clock.seconds > 0
    assert result["details"]["dataset"] == "digits"
    assert result["details"]["threads"] == 1
    assert result["peak_device_bytes"] == 0


@pytest.mark.parametrize(
    ("size", "images", "expected"), [(32, 96, 64), (32, 20, 20), (200, 100, 100)]
)
def test_the_warm_up_is_no_longer_than_the_run(
    order: dict[str, Any], trained: list[Session], size: int, images: int, expected: int
) -> None:
    order["settings"] |= {"batch_size": size, "train_size": images}
    worker.steps(order)
    assert [session.train_images for session in trained] == [expected, images]


def test_steps_read_no_test_set(order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "score_test", None)
    worker.steps(order)


def test_an_epoch_that_a_limit_ends_counts_only_the_images_trained_on(
    order: dict[str, Any],
) -> None:
    order["settings"] |= {"max_steps": 6}  # of 4 steps in each epoch
    assert worker.train({**order, "target": 0})["images"] == 100 + 2 * 32


def test_images_are_those_to_train_on(order: dict[str, Any]) -> None:
    assert worker.images(order) == {"images": 100}
    order["settings"] |= {"train_size": 0}
    assert worker.images(order) == {"images": 1797 - 382}
    order["settings"] |= {"train_size": 1416}
    with pytest.raises(UsageError):
        worker.images(order)


def test_each_batch_size_is_evaluated_once_more_than_it_is_counted(
    order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_BATCHES", 20)
    passes = []
    predict = scoring.predict

    def watched(model: Any, split: Any, *args: Any, batch_size: int, **rest: Any) -> Any:
        scores = predict(model, split, *args, batch_size=batch_size, **rest)
        passes.append((batch_size, len(scores)))
        return scores

    monkeypatch.setattr(scoring, "predict", watched)
    result = worker.inference({**order, "batch_sizes": [1, 10, 382, 1000], "repeats": 3})
    assert passes == [(1, 20), (10, 200), (382, 382)] * 4
    assert [(one["batch_size"], one["images"]) for one in result["batches"]] == passes[:3]
    assert all(len(one["seconds"]) == 3 and min(one["seconds"]) > 0 for one in result["batches"])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_devices_memory_is_torchs(order: dict[str, Any]) -> None:
    order["settings"] |= {"device": "cuda"}
    result = worker.steps(order)
    assert result["details"]["device_name"] == torch.cuda.get_device_name()
    assert result["peak_device_bytes"] > 215_000 * 4
