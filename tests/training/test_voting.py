"""Ensembles: each member trains as it would alone, and all of them vote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rounding import assert_as_accurate, assert_figures_as_accurate, moves, smooth, weights_of
from small_runs import (
    DATA,
    FP32,
    MOVED,
    NORMALISATION,
    Run,
    alone,
    config,
    in_float64,
    split,
    state_of,
    train,
)
from torch import Tensor, nn

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.errors import CheckpointError, NonFiniteError
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.training import snapshot
from mnist_cli.training.guard import first_bad_module
from mnist_cli.training.scoring import evaluate, predict, score
from mnist_cli.training.state import TrainState, fresh_model

VAL = split(10, 2, "val")
MEMBERS = 3

# Adam divides gradients by their size: without an eps, rounding alone decides where one is zero.
RECIPES: dict[str, dict[str, Any]] = {
    "sgd, batch norm": {"model": "conv4"},
    "adam, smoothed, augmented": {
        **{"model": "conv2", "optimizer": "adam", "lr": 0.003, "eps": 1e-4, "label_smoothing": 0.1},
        **MOVED,
    },
    "adamw, averaged": {
        "model": "conv4",
        "optimizer": "adamw",
        "lr": 0.003,
        "eps": 1e-4,
        "ema": 0.8,
    },
    "adadelta": {"model": "conv2", "optimizer": "adadelta", "lr": 0.5},
    "muon": {"model": "oriented", "optimizer": "muon", "lr": 0.02, "momentum": 0.8},
    "sgd, clipped": {"model": "conv2", "clip_norm": 0.3},
}


def trained(state: TrainState) -> TrainState:
    return train(state, VAL)


def member_of(model: nn.Module, number: int) -> dict[str, Tensor]:
    assert isinstance(model, Ensemble)
    return model.member(number).state_dict()


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_member_trains_as_it_would_alone(recipe: str) -> None:
    settings = config(ensemble=MEMBERS, **RECIPES[recipe])
    with smooth():
        together = trained(state_of(settings))
        for number in range(MEMBERS):
            start = weights_of(alone(settings, number).model)
            one, exact = (
                trained(alone(settings, number)),
                trained(in_float64(alone(settings, number))),
            )
            for kind in ("model", "eval_model"):
                found = member_of(getattr(together, kind), number)
                usual, best = (getattr(state, kind).state_dict() for state in (one, exact))
                assert_as_accurate(*(moves(weights, start) for weights in (found, usual, best)))


def test_clipping_would_be_noticed() -> None:
    """The recipe above must clip, and clip otherwise than by the norm of all members."""
    settings = config(ensemble=MEMBERS, **RECIPES["sgd, clipped"])
    together = trained(state_of(settings))
    free = trained(state_of(settings.model_copy(update={"clip_norm": 0.0})))
    assert together.history[0].grad_norm > 0.3
    name = "members.fc2.weight"
    assert not torch.allclose(
        together.model.get_parameter(name), free.model.get_parameter(name), rtol=2e-2
    )


def test_the_figures_of_training_are_the_members_mean_and_validation_is_the_vote() -> None:
    settings = config(model="conv2", ensemble=MEMBERS)
    with smooth():
        last = trained(state_of(settings)).history[-1]
        usual = means_and_vote([trained(alone(settings, number)) for number in range(MEMBERS)])
        exact = means_and_vote(
            [trained(in_float64(alone(settings, number))) for number in range(MEMBERS)]
        )
    assert last.val is not None
    found = {name: getattr(last, name) for name in ("loss", "accuracy", "grad_norm")}
    found |= {"val_loss": last.val.loss, "val_accuracy": last.val.accuracy}
    assert_figures_as_accurate(found, usual, exact)


def means_and_vote(singles: list[TrainState]) -> dict[str, float]:
    """The mean of several networks' last figures, and the score of their mean probabilities."""
    figures = {
        name: sum(getattr(single.history[-1], name) for single in singles) / len(singles)
        for name in ("loss", "accuracy", "grad_norm")
    }
    images = NORMALISATION(VAL.images.float())
    with torch.no_grad():
        chances = torch.stack([single.model.eval()(images).softmax(1) for single in singles])
    vote = score(chances.mean(0).log(), VAL.labels)
    return {**figures, "val_loss": vote.loss, "val_accuracy": vote.accuracy}


def test_the_first_member_is_the_network_that_would_be_trained_alone() -> None:
    together = fresh_model(config(ensemble=MEMBERS), 10)
    single = fresh_model(config(), 10).state_dict()
    assert all(torch.equal(tensor, single[name]) for name, tensor in member_of(together, 0).items())
    firsts = [member_of(together, number)["fc2.weight"] for number in range(MEMBERS)]
    assert not any(torch.equal(firsts[a], firsts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(member_of(fresh_model(config(ensemble=2), 10), 1)["fc2.weight"], firsts[1])


def test_an_evaluation_holds_the_vote_and_each_member() -> None:
    model = fresh_model(config(model="conv2", ensemble=MEMBERS), 10)
    assert isinstance(model, Ensemble)
    settings: dict[str, Any] = {"batch_size": 4, "precision": FP32}
    members = predict(model, VAL, NORMALISATION, **settings, by_member=True)
    result = evaluate(members, VAL, tuple("0123456789"))
    assert result.score == score(predict(model, VAL, NORMALISATION, **settings), VAL.labels)
    for number, found in enumerate(result.members):
        single = predict(model.member(number), VAL, NORMALISATION, **settings)
        assert found.accuracy == score(single, VAL.labels).accuracy
        assert found.loss == pytest.approx(score(single, VAL.labels).loss, rel=1e-5)
    mean = sum(member.accuracy for member in result.members) / MEMBERS
    assert result.mean_member_accuracy == pytest.approx(mean)
    alone = predict(model.member(0), VAL, NORMALISATION, **settings, by_member=True)
    assert evaluate(alone, VAL, tuple("0123456789")).members == ()


# --- what is in a checkpoint


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_checkpoint_alone_is_the_ensemble(tmp_path: Path, ema: float) -> None:
    settings = config(model="conv4", epochs=1, ensemble=MEMBERS, ema=ema)
    state = trained(state_of(settings))
    path = tmp_path / "a.pt"
    checkpoints.write(snapshot.capture(state, DATA, torch.Generator()), path)
    found = checkpoints.read(path)
    assert (found.model, found.members) == ("conv4", MEMBERS)
    model, images = found.build_model(), torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(model(images), state.eval_model.eval()(images))
    weight = model.get_parameter("members.conv2.weight")
    assert weight[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("claimed", "words"),
    [
        *((number, "does not fit the network 'conv2'") for number in (1, 2, 4)),
        *((number, "missing or damaged") for number in (0, -1, 10**9, "many", None, 1.5)),
    ],
)
def test_another_number_of_members_is_refused(tmp_path: Path, claimed: Any, words: str) -> None:
    spoilt = Run(config(model="conv2", ensemble=MEMBERS)).document()
    spoilt["config"]["ensemble"] = claimed
    checkpoints.write(spoilt, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=words):
        checkpoints.read(tmp_path / "a.pt")


def test_a_checkpoint_without_the_key_is_one_network(tmp_path: Path) -> None:
    old = Run(config()).document()
    del old["config"]["ensemble"]
    checkpoints.write(old, tmp_path / "a.pt")
    found = checkpoints.read(tmp_path / "a.pt")
    assert found.members == 1
    assert not isinstance(found.build_model(), Ensemble)


# --- what breaks one member is found


def test_a_member_whose_loss_is_not_finite_ends_the_run_and_its_module_is_named() -> None:
    state = state_of(config(model="conv2", ensemble=MEMBERS))
    with torch.no_grad():
        state.model.get_parameter("members.fc1.bias")[1, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="output is not finite is 'fc1'"):
        trained(state)
    images = torch.zeros(2, 1, 28, 28)
    assert first_bad_module(state.model, images) == "fc1"
    assert first_bad_module(fresh_model(config(ensemble=2), 10), images) == ""
