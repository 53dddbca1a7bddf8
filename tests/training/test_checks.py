"""Warnings about runs that do not learn, and the search for a learning rate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import config, session_in

from mnist_cli.base.signals import StopRequest
from mnist_cli.runs.results import EpochResult, Norms, Score
from mnist_cli.training import checks
from mnist_cli.training.rate_finder import HIGH, LOW, STEPS, UNSETTLED, propose, smooth, try_rates


def result(accuracy: float = 0.9, val: Score | None = None, **gradients: float) -> EpochResult:
    norms = {name: Norms(gradient, 1.0, 0.1) for name, gradient in gradients.items()}
    return EpochResult(1, 10, 1.0, accuracy, val, 0.1, 2.0, 300.0, 1.5, norms)


@pytest.mark.parametrize(
    ("gradients", "found"),
    [
        ({"a": 0.0, "b": 1.0}, ["a"]),
        ({"a": 1e-30, "b": 1.0}, []),
        ({"a": 0.0, "b": 0.0}, []),  # fp16's scaler has skipped the measured step
        ({}, []),
    ],
)
def test_parameters_without_gradient(gradients: dict[str, float], found: list[str]) -> None:
    assert checks.without_gradient(result(**gradients)) == found


@pytest.mark.parametrize(
    ("accuracy", "val", "said"),
    [
        (0.9, Score(1.0, 0.1, 1000), "validation accuracy of 10.00%"),
        (0.9, Score(1.0, 0.11, 1000), "validation accuracy of 11.00%"),  # within two errors
        (0.9, Score(1.0, 0.3, 1000), ""),
        (0.1, Score(1.0, 0.0, 10), "training accuracy of 10.00%"),  # ten images show nothing
        (0.1, None, "training accuracy of 10.00%"),
        (0.9, None, ""),
    ],
)
def test_accuracy_at_chance(accuracy: float, val: Score | None, said: str) -> None:
    labels = SimpleNamespace(labels=torch.arange(1000) % 10)
    session: Any = SimpleNamespace(
        data=SimpleNamespace(train=labels),
        val=labels if val else None,
        train_images=1000,
        config=config(),
        run=SimpleNamespace(path="runs/0001"),
    )
    assert said in checks.at_chance(session, result(accuracy, val))
    assert bool(said) == bool(checks.at_chance(session, result(accuracy, val)))


def test_a_few_steps_raise_no_doubt(tmp_path: Path) -> None:
    session = session_in(tmp_path, config(model="conv2", batch_size=16))
    bad = result(0.1, session.val and Score(1.0, 0.0, 1000))
    assert "at chance" in "".join(checks.after_epoch(session, bad))
    session.state.history.append(bad)  # the epoch has a result, but is not done
    assert session.state.partial
    assert list(checks.after_epoch(session, bad)) == []


@pytest.mark.parametrize(
    ("keys", "way_out"),
    [
        ({"batch_size": 100}, "choose a smaller batch_size"),
        ({"batch_size": 8, "accumulate": 10}, "choose a smaller batch_size or accumulate"),
        ({"batch_size": 8}, ""),
    ],
)
def test_steps_larger_than_the_training_set(
    tmp_path: Path, keys: dict[str, int], way_out: str
) -> None:
    said = "".join(checks.before_training(session_in(tmp_path, config(**keys))))
    assert said.endswith(way_out)
    assert bool(said) == bool(way_out)


def test_rates_rise_until_the_loss_explodes(tmp_path: Path) -> None:
    session = session_in(tmp_path, config(model="conv2", batch_size=16))
    trial = try_rates(session, StopRequest())
    assert trial.rates[0] == LOW
    assert list(trial.rates) == sorted(trial.rates)
    assert trial.rates[-1] == pytest.approx(HIGH) or trial.smoothed[-1] > 4 * min(trial.smoothed)
    assert trial.proposal is not None
    assert trial.lowest is not None
    assert 1e-4 < trial.proposal < 1
    assert trial.proposal <= trial.lowest
    assert list(tmp_path.iterdir()) == []


def test_the_steepest_descent_is_proposed() -> None:
    rates = [1e-7] * UNSETTLED + [10.0**power for power in range(-6, 0)]
    start = [2.3] * UNSETTLED
    assert propose(rates, [*start, 2.3, 2.3, 2.2, 1.0, 0.9, 5.0]) == pytest.approx(1e-4, rel=9.1)
    assert propose(rates, [*start, 2.3, 2.3, 2.3, 2.3, 2.3, 5.0]) is None
    assert propose(rates[: UNSETTLED + 1], [*start, 2.3]) is None
    assert smooth([1.0, 1.0, 1.0]) == pytest.approx([1.0, 1.0, 1.0])


def test_chance_in_the_first_batches_is_no_descent() -> None:
    """SGD at rates near 0 changes nothing: batches of 2.4, 2.2 and 2.3 look like a steep fall."""
    rates = [LOW * (HIGH / LOW) ** (step / (STEPS - 1)) for step in range(STEPS)]
    losses = [2.4, 2.2] + [2.3] * (STEPS // 2) + [2.3 - 0.02 * step for step in range(STEPS // 2)]
    proposal = propose(rates, smooth(losses[:STEPS]))
    assert proposal is not None
    assert proposal > rates[STEPS // 2]
