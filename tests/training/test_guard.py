"""A loss that is no longer finite: the step is not applied, and is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_runs import CPU, NORMALISATION, config, loader_of, state_of
from torch import Tensor, nn

from mnist_cli.errors import NonFiniteError
from mnist_cli.training.guard import (
    DeferredGuard,
    Guard,
    build_guard,
    first_bad_module,
    where_it_began,
)
from mnist_cli.training.loop import fit
from mnist_cli.training.state import Running, TrainState

NAN, INF = float("nan"), float("inf")


class Poisoned:
    """A loader whose batch number ``at`` (from 0, over the whole run) is not finite."""

    def __init__(self, at: int, value: float = NAN, **values: Any) -> None:
        self._inner, self._at, self._value = loader_of(config(**values)), at, value
        self.batches, self.images = self._inner.batches, self._inner.images
        self.generator = self._inner.generator
        self.count = self._inner.count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for number, (images, labels) in enumerate(self._inner.epoch(epoch, start), start):
            if epoch * self.batches + number == self._at:
                images[0, 0, 3, 3] = self._value
            yield images, labels


def weights(state: TrainState) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in state.model.named_parameters()}


def run_until_bad(
    state: TrainState, at: int, value: float = NAN
) -> tuple[NonFiniteError, dict[str, Tensor]]:
    """The error, and the weights after the last step that came through."""
    before = weights(state)
    try:
        for _ in fit(state, Poisoned(at, value), None, NORMALISATION):
            before = weights(state)
    except NonFiniteError as error:
        return error, before
    pytest.fail("it trained to the end")


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("value", [NAN, INF])
def test_the_bad_step_is_not_applied_and_is_named(at: int, value: float) -> None:
    state = state_of(config(model="conv2"))
    error, before = run_until_bad(state, at, value)
    assert f"at step {at + 1};" in error.message
    assert "the loss is nan" in error.message
    assert "first module whose output is not finite is 'conv1'" in error.message
    assert "(lr)" in error.hint
    after = weights(state)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert state.step == at


def test_a_gradient_that_is_not_finite_is_judged_too() -> None:
    guard = Guard()
    guard.before_step(0, torch.tensor(1.0), torch.tensor(2.0))
    with pytest.raises(NonFiniteError, match=r"norm is inf \(the loss 1\.5\) at step 8"):
        guard.before_step(7, torch.tensor(1.5), torch.tensor(INF))
    guard.report()


def test_under_fp16s_scaler_only_the_loss_is_judged() -> None:
    """Its gradients overflow now and then; the scaler skips those steps and lowers its scale."""
    guard = Guard(judge_gradient=False)
    guard.before_step(0, torch.tensor(1.0), torch.tensor(INF))
    with pytest.raises(NonFiniteError):
        guard.before_step(0, torch.tensor(NAN), torch.tensor(1.0))


def test_the_norm_of_a_skipped_step_does_not_spoil_the_mean() -> None:
    running = Running.on(CPU)
    for norm in (2.0, INF, NAN, 4.0):
        terms = {"loss": 4.0, "accuracy": 3, "grad_norm": norm, "plain_loss": 2.0}
        running.add(**{name: torch.tensor(term) for name, term in terms.items()})
        running.count(steps=1, images=4)
    assert running.means() == {
        **{"loss": 1.0, "accuracy": 0.75, "grad_norm": 1.5, "plain_loss": 0.5}
    }


# --- the deferred guard, on the CPU's fused kernels, which take the same flag as CUDA's


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_deferred_the_bad_step_and_all_later_ones_are_skipped(optimizer: str, at: int) -> None:
    settings = config(model="conv2", optimizer=optimizer, lr=0.01)
    state, twin = state_of(settings), state_of(settings)
    state.guard = DeferredGuard(CPU, state.optimizers)
    twin_steps = fit(twin, loader_of(settings), None, NORMALISATION)
    for _ in range(at):
        next(twin_steps)
    steps = fit(state, Poisoned(at), None, NORMALISATION)
    for _ in range(3):
        next(steps)  # nothing waits, nothing is told before the epoch's end
    with pytest.raises(NonFiniteError, match=rf"the loss is nan at step {at + 1};") as caught:
        next(steps)
    assert "first module whose output is not finite is 'conv1'" in caught.value.message
    for name, tensor in weights(twin).items():
        assert torch.equal(weights(state)[name], tensor), name


def test_deferred_the_first_bad_step_is_reported() -> None:
    parameter = nn.Parameter(torch.ones(1))
    guard = DeferredGuard(CPU, [torch.optim.SGD([parameter], lr=0.1, fused=True)])
    guard.before_step(0, torch.tensor(1.0), torch.tensor(1.0))
    guard.report()
    guard.before_step(1, torch.tensor(0.5), torch.tensor(INF))
    guard.before_step(2, torch.tensor(NAN), torch.tensor(NAN))
    with pytest.raises(NonFiniteError, match=r"norm is inf \(the loss 0\.5\) at step 2;"):
        guard.report()


def test_each_device_and_optimiser_gets_the_guard_that_costs_least() -> None:
    parameter = nn.Parameter(torch.ones(1))
    fused = torch.optim.SGD([parameter], lr=0.1, fused=True)
    plain = torch.optim.Adadelta([parameter])
    off, on = torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu")
    assert type(build_guard(CPU, [fused], off)) is Guard
    assert type(build_guard(CPU, [fused], on)) is Guard
    cuda = torch.device("cuda")
    assert type(build_guard(cuda, [fused, plain], off)) is Guard
    assert type(build_guard(cuda, [fused], on)) is Guard


# --- the first module


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        self.back = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.back(self.front(images).log())


def test_the_first_bad_module_is_the_innermost_that_ran_first() -> None:
    model = Nested()
    assert first_bad_module(model, torch.full((1, 4), NAN)) == "front.0"
    model.front[1].weight.data.fill_(NAN)
    assert first_bad_module(model, torch.ones(1, 4)) == "front.1"
    model.front[1].weight.data.fill_(-1)  # the logarithm between them makes the NaN
    assert first_bad_module(model, torch.ones(1, 4)) == "back"
    model.front[1].weight.data.fill_(1)
    model.front[1].bias.data.fill_(1)
    assert first_bad_module(model, torch.ones(1, 4)) == ""


def test_the_first_bad_module_is_found_of_one_image_too() -> None:
    """Of which a rank's part may be; a batch norm in training mode asks for more."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
    network[3].weight.data.fill_(INF)
    assert first_bad_module(network.train(), torch.ones(1, 1, 28, 28)) == "3"


def test_where_outputs_are_finite_the_gradient_nearest_to_the_loss_is_named() -> None:
    model, images = Nested(), torch.ones(1, 4)
    model.front[1].weight.data.fill_(1)
    model.front[1].bias.data.fill_(1)
    assert where_it_began(model, images) == "the outputs of all modules are finite"
    model(images).sum().backward()
    model.back.bias.grad = torch.tensor([9.0, -999.0])
    assert where_it_began(model, images).endswith("the largest gradient belongs to 'back.bias'")
    for layer in (model.front[1], model.back):
        assert layer.weight.grad is not None
        layer.weight.grad[0, 0] = INF
    assert where_it_began(model, images).endswith("belongs to 'back.weight'")
    model.back.weight.grad = None
    assert where_it_began(model, images).endswith("belongs to 'front.1.weight'")
    model.back.weight.data.fill_(NAN)
    assert where_it_began(model, images).endswith("output is not finite is 'back'")


def test_looking_leaves_no_hooks_behind() -> None:
    model = Nested()
    with pytest.raises(RuntimeError):
        first_bad_module(model, torch.ones(1, 5))
    assert not torch.nn.modules.module._global_forward_hooks
