"""Norms by parameter, against a step written out in plain torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rounding import assert_figures_as_accurate, smooth
from small_runs import (
    CPU,
    NORMALISATION,
    alone,
    config,
    in_float64,
    loader_of,
    session_in,
    state_of,
)
from torch import Tensor, nn

from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig
from mnist_cli.runs.results import EpochResult, Norms
from mnist_cli.training.loop import StepResult, fit
from mnist_cli.training.norms import by_layer, by_parameter, measure, trained
from mnist_cli.training.state import TrainState

EPS = torch.finfo(torch.float32).eps
Figures = dict[str, tuple[float, float, float]]


def first_epoch(state: TrainState) -> EpochResult:
    events = fit(state, loader_of(state.config), None, NORMALISATION)
    return next(event for event in events if isinstance(event, EpochResult))


def middle_step_by_hand(settings: TrainConfig) -> Figures:
    """The second of three steps, by the textbook: SGD with Nesterov momentum and decay, clipped."""
    state = state_of(settings)
    events = fit(state, loader_of(settings), None, NORMALISATION)
    assert isinstance(next(events), StepResult)
    model = copy.deepcopy(state.model)
    velocity = [
        state.optimizers[0].state[p]["momentum_buffer"].clone()
        for p in trained(state.model).values()
    ]
    images, labels = list(loader_of(settings).epoch(0, 0))[1]
    F.cross_entropy(model.train()(images), labels).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    total = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    factor = min(1.0, settings.clip_norm / total) if settings.clip_norm else 1.0
    figures = {}
    for (name, p), v in zip(model.named_parameters(), velocity, strict=True):
        assert p.grad is not None
        gradient = factor * p.grad
        slope = gradient + settings.weight_decay * p.detach()
        update = settings.lr * (slope + 0.9 * (0.9 * v + slope))
        figures[name] = tuple(float(t.double().norm()) for t in (gradient, p.detach(), update))
    return figures  # type: ignore[return-value]


@pytest.mark.parametrize("values", [{}, {"clip_norm": 0.3}, {"ema": 0.9}, {"model": "conv4"}])
def test_the_middle_steps_norms_are_those_of_the_step_written_out(values: dict[str, Any]) -> None:
    settings = config(**{"model": "conv2", "weight_decay": 0.01, **values})
    found = first_epoch(state_of(settings)).norms
    expected = middle_step_by_hand(settings)
    assert list(found) == list(expected)
    for name, (gradient, weight, update) in expected.items():
        assert found[name].gradient == pytest.approx(gradient, rel=1e-4), name
        assert found[name].weight == pytest.approx(weight, rel=1e-5), name
        # The update is a difference of weights, each of which was rounded.
        assert found[name].update == pytest.approx(update, rel=1e-4, abs=EPS * weight), name


def test_every_optimiser_and_epoch_is_measured() -> None:
    for optimizer, lr in (("adam", 0.01), ("adamw", 0.01), ("adadelta", 1.0), ("muon", 0.01)):
        state = state_of(config(model="conv4", optimizer=optimizer, lr=lr))
        list(fit(state, loader_of(state.config), None, NORMALISATION))
        assert [len(result.norms) for result in state.history] == [14, 14]
        for result in state.history:
            assert all(min(vars(norms).values()) > 0 for norms in result.norms.values())


def test_what_is_not_trained_is_not_measured() -> None:
    result = first_epoch(state_of(config(model="oriented")))
    assert "bank" not in result.norms
    assert "conv.weight" in result.norms


def test_an_ensembles_are_the_mean_of_its_members_alone() -> None:
    """Up to rounding, of which each member's own mean has the like."""
    settings = config(model="conv2", ensemble=2)
    with smooth():
        found = first_epoch(state_of(settings)).norms
        usual, exact = (
            [first_epoch(change(alone(settings, number))).norms for number in range(2)]
            for change in (copy.copy, in_float64)
        )
    assert list(found) == list(usual[0])
    assert_figures_as_accurate(means([found]), means(usual), means(exact))


def means(members: list[Mapping[str, Norms]]) -> dict[str, float]:
    """The mean of each figure over members."""
    return {
        f"{name} {figure}": sum(getattr(one[name], figure) for one in members) / len(members)
        for name in members[0]
        for figure in ("gradient", "weight", "update")
    }


def test_members_scalars_are_a_members_each() -> None:
    pair = torch.tensor([3.0, -4.0])
    (row,) = measure([pair], [2 * pair], [pair], members=2).tolist()
    assert row == [7.0, 3.5, 0.0]


def test_a_layers_norm_is_that_of_its_parameters_as_one_vector() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    figures = [torch.rand_like(p) for p in layer.parameters()]
    measured = measure([p.detach() for p in layer.parameters()], figures, figures)
    layers = by_layer(by_parameter(trained(layer), measured))
    assert list(layers) == ["0", "1"]
    for number, linear in enumerate(layer):
        weight = nn.utils.parameters_to_vector(linear.parameters()).detach().norm()
        assert layers[str(number)].weight == pytest.approx(float(weight), rel=1e-6)
        gradient = torch.cat([f.flatten() for f in figures[2 * number : 2 * number + 2]]).norm()
        assert layers[str(number)].gradient == pytest.approx(float(gradient), rel=1e-6)


def test_a_skipped_step_counts_as_nothing_and_no_gradient_as_zero() -> None:
    weights = [torch.ones(4), torch.ones(9)]
    gradients: list[Tensor | None] = [torch.full((4,), torch.inf), None]
    assert measure(weights, gradients, weights).tolist() == [[0, 2, 0], [0, 3, 0]]


def test_ratios() -> None:
    norms = Norms(gradient=1.0, weight=4.0, update=2.0)
    assert (norms.gradient_to_weight, norms.update_to_weight) == (0.25, 0.5)
    assert math.isnan(Norms(1.0, 0.0, 1.0).update_to_weight)


def test_an_older_checkpoint_goes_on(tmp_path: Path) -> None:
    """Left by a program that measured nothing, after one epoch and two of three steps."""
    session = session_in(tmp_path, config())
    stop = StopRequest()
    for event in session.events(stop):
        if isinstance(event, StepResult) and (event.epoch, event.batch) == (2, 2):
            break
    session.save()
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    del document["running"]["norms"]
    for line in document["metrics"]:
        del line["norms"]
    checkpoints.write(document, tmp_path / "last.pt")
    resumed = session_in(tmp_path, config(), resume=checkpoints.read(tmp_path / "last.pt"))
    list(resumed.events(stop))
    assert [result.norms for result in resumed.state.history] == [{}, {}]
    assert resumed.compute.device == CPU
