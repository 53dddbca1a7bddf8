"""The loop against plain torch code written out here, and what it yields."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import small_runs
import torch
import torch.nn.functional as F
from rounding import TIMES, assert_as_accurate, moves, relative_error, smooth
from small_runs import NORMALISATION, config, in_float64, loader_of, split, state_of
from torch import Tensor, nn

from mnist_cli.base.seeding import derive
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.batches import epoch_order
from mnist_cli.devices.device import Precision
from mnist_cli.runs.results import EpochResult, Score
from mnist_cli.training.loop import StepResult, fit
from mnist_cli.training.state import TrainState, fresh_model

VAL = split(10, 2, "val")


def train(settings: TrainConfig, state: TrainState | None = None, val: Any = VAL) -> TrainState:
    return small_runs.train(state or state_of(settings), val)


def batches_by_hand(epoch: int) -> list[tuple[Tensor, Tensor]]:
    data, order = split(23), epoch_order(5, epoch, 23)
    return [
        (
            (data.images[index].float() - 255 * 0.1307) / (255 * 0.3081),
            data.labels[index],
        )
        for index in order.split(8)
    ]


class ByHand:
    """What a reader of a tutorial would write; nothing of the loop's."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.losses: list[float] = []
        self.correct: list[int] = []
        self.norms: list[float] = []

    def epoch(
        self,
        epoch: int,
        criterion: Callable[[Tensor, Tensor], Tensor],
        clip: float = 0.0,
        after: Callable[[nn.Module], None] | None = None,
    ) -> None:
        torch.manual_seed(derive(5, "epoch", epoch))
        self.model.train()
        for images, labels in batches_by_hand(epoch):
            self.optimizer.zero_grad()
            output = self.model(images)
            loss = criterion(output, labels)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(
                self.model.parameters(), clip or math.inf, foreach=True
            )
            self.optimizer.step()
            if after:
                after(self.model)
            self.losses.append(loss.item() * len(labels))
            self.correct.append(int((output.argmax(1) == labels).sum()))
            self.norms.append(norm.item())


def by_hand(settings: TrainConfig) -> ByHand:
    model = fresh_model(settings, 10)
    fused = {"lr": settings.lr, "fused": True}
    if settings.optimizer == "adam":
        return ByHand(model, torch.optim.Adam(model.parameters(), weight_decay=5e-4, **fused))
    optimizer = torch.optim.SGD(
        model.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4, **fused
    )
    return ByHand(model, optimizer)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert list(a) == list(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("model", ["notebook", "conv2", "conv4"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_are_those_of_plain_torch_to_the_bit(model: str, optimizer: str) -> None:
    settings = config(model=model, optimizer=optimizer, lr=0.01)
    hand = by_hand(settings)
    criterion = F.nll_loss if model == "notebook" else F.cross_entropy
    for epoch in range(2):
        hand.epoch(epoch, criterion)
    state = train(settings)
    assert_same(state.model, hand.model)
    assert state.step == 6


def test_with_smoothing_and_clipping_too() -> None:
    settings = config(model="conv2", label_smoothing=0.1, clip_norm=0.5)
    hand = by_hand(settings)
    for epoch in range(2):
        hand.epoch(epoch, nn.CrossEntropyLoss(label_smoothing=0.1), clip=0.5)
    assert max(hand.norms) > 0.5
    assert_same(train(settings).model, hand.model)


def test_the_average_of_weights_is_the_one_taken_by_hand() -> None:
    settings = config(model="conv4", ema=0.8)
    hand, averaged = by_hand(settings), dict[str, Tensor]()

    def average(model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            if name not in averaged:
                averaged[name] = tensor.clone()
            elif tensor.is_floating_point():
                averaged[name] = 0.8 * averaged[name] + 0.2 * tensor

    for epoch in range(2):
        hand.epoch(epoch, F.cross_entropy, after=average)
    state = train(settings)
    assert_same(state.model, hand.model)
    found = state.eval_model.state_dict()
    for name, tensor in averaged.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_figures_of_an_epoch_are_those_counted_by_hand() -> None:
    settings = config(schedule="step", step_epochs=1, gamma=0.5)
    hand = by_hand(settings)
    state = state_of(settings)
    events = fit(state, loader_of(settings), None, NORMALISATION)
    result = next(event for event in events if isinstance(event, EpochResult))
    hand.epoch(0, F.nll_loss)
    assert result.loss == pytest.approx(sum(hand.losses) / 23, rel=1e-6)
    assert result.accuracy == sum(hand.correct) / 23
    assert result.grad_norm == pytest.approx(sum(hand.norms) / 3, rel=1e-5)
    assert (result.epoch, result.step, result.lr, result.val) == (1, 3, 0.05, None)
    assert result.images_per_second == pytest.approx(23 / result.seconds)
    second = next(event for event in events if isinstance(event, EpochResult))
    assert (second.epoch, second.step, second.lr) == (2, 6, 0.025)


def test_validation_figures_are_those_of_the_network_in_evaluation_mode() -> None:
    settings = config(epochs=1)
    state = train(settings)
    model = copy.deepcopy(state.model).eval()
    with torch.no_grad():
        output = model((VAL.images.float() - 255 * 0.1307) / (255 * 0.3081))
    val = state.history[0].val
    assert val is not None
    assert val.loss == pytest.approx(F.nll_loss(output, VAL.labels).item(), rel=1e-5)
    assert val.accuracy == (output.argmax(1) == VAL.labels).sum().item() / 10
    assert val.count == 10


def test_steps_and_epochs_come_in_order_and_the_state_counts_what_is_done() -> None:
    settings = config()
    state = state_of(settings)
    seen = []
    for event in fit(state, loader_of(settings), None, NORMALISATION):
        if isinstance(event, StepResult):
            assert (event.epoch, event.batch, event.batches) == (state.epoch + 1, state.batch, 3)
        seen.append((type(event).__name__, state.epoch, state.batch, state.step))
    steps = [("StepResult", 0, b, b) for b in (1, 2, 3)] + [("EpochResult", 1, 0, 3)]
    steps += [("StepResult", 1, b, 3 + b) for b in (1, 2, 3)] + [("EpochResult", 2, 0, 6)]
    assert seen == steps


def test_weights_are_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = fresh_model(config(), 10)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    other = fresh_model(config(), 10)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(one, other)
    third = fresh_model(config(seed=6), 10)
    assert not torch.equal(third.state_dict()["fc2.weight"], one.state_dict()["fc2.weight"])


def test_bf16_is_torchs_own_and_keeps_weights_in_fp32() -> None:
    settings = config(model="conv2", epochs=1)
    hand = by_hand(settings)
    hand.model.forward = torch.autocast("cpu", torch.bfloat16)(hand.model.forward)  # type: ignore[method-assign]
    hand.epoch(0, lambda scores, labels: F.cross_entropy(scores.float(), labels))
    rough = train(settings, state_of(settings, Precision("bf16", "cpu"))).model
    assert_same(rough, hand.model)
    assert all(parameter.dtype == torch.float32 for parameter in rough.parameters())
    start = fresh_model(settings, 10).state_dict()
    moved, exact = (moves(one.state_dict(), start) for one in (rough, train(settings).model))
    assert relative_error(moved, exact) > 1e-4  # it did compute in bf16


def assert_trained_alike(one: TrainState, usual: TrainConfig, times: float = TIMES) -> None:
    """Up to rounding, ``one`` is what ``usual`` trains; see :mod:`rounding`."""
    start = fresh_model(usual, 10).state_dict()
    exact = train(usual, in_float64(state_of(usual)))
    moved = (moves(state.model.state_dict(), start) for state in (one, train(usual), exact))
    assert_as_accurate(*moved, times)


def test_channels_last_weights_compute_the_same() -> None:
    """And stay so: the memory order is worth a third of the time on a CPU.

    Its batch norm adds pixel by pixel, up to 1,152 here, which rounds more than adding in pairs.
    """
    with smooth():
        ordered = train(config(model="conv4", channels_last=True, epochs=1))
        plain = config(model="conv4", channels_last=False, epochs=1)
        assert_trained_alike(ordered, plain, times=4 * TIMES)
    weight = ordered.model.get_submodule("conv2").weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_both_loaders_train_to_nearly_the_same_weights() -> None:
    with smooth():
        other = train(config(model="conv2", loader="dataloader"))
        assert_trained_alike(other, config(model="conv2"))


# --- when a run ends


def history(*accuracies: float, losses: tuple[float, ...] = ()) -> list[EpochResult]:
    losses = losses or tuple(0.5 for _ in accuracies)
    return [
        EpochResult(i, i, 0.1, 0.9, Score(loss, accuracy, 10), 0.1, 1.0, 1.0, 1.0)
        for i, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("values", "accuracies", "losses", "reason"),
    [
        ({"early_stopping": 2}, (0.5,), (), ""),
        ({"early_stopping": 2}, (0.5, 0.4), (), ""),
        ({"early_stopping": 2}, (0.5, 0.4, 0.3), (), "no better validation accuracy for 2 epochs"),
        ({"early_stopping": 2}, (0.5, 0.4, 0.6, 0.6), (), ""),
        ({"early_stopping": 2}, (0.5, 0.5, 0.5), (0.3, 0.2, 0.1), "no better"),
        ({"target_accuracy": 0.9}, (0.89,), (), ""),
        ({"target_accuracy": 0.9}, (0.9,), (), "0.9000 has reached 0.9"),
    ],
)
def test_a_run_ends_early_with_a_reason(
    values: dict[str, Any], accuracies: tuple[float, ...], losses: tuple[float, ...], reason: str
) -> None:
    state = state_of(config(epochs=100, **values))
    state.history, state.epoch = history(*accuracies, losses=losses), len(accuracies)
    assert state.finished == bool(state.stop_reason) == bool(reason)
    assert reason in state.stop_reason


def test_a_run_ends_early_by_itself() -> None:
    settings = config(model="conv2", optimizer="adam", lr=0.003, epochs=50, target_accuracy=0.5)
    state = train(settings, val=split(23))
    accuracies = [result.val.accuracy for result in state.history if result.val]
    assert 0 < state.epoch < 50
    assert accuracies[-1] >= 0.5
    assert all(accuracy < 0.5 for accuracy in accuracies[:-1])


def test_best_is_by_accuracy_then_loss_then_the_later() -> None:
    state = state_of(config())
    assert not state.at_best
    assert not train(config(epochs=1), val=None).at_best
    state.history = history(0.5, 0.9, 0.9, 0.9, 0.2, losses=(0.1, 0.5, 0.4, 0.4, 0.1))
    ends = []
    for state.epoch in range(1, 6):
        ends.append(state.at_best)
    assert ends == [False, False, False, True, False]
