"""``assert_gradients_finite`` names what is not finite, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

from mnist_cli.autograd import GradientWarning, UsageError, assert_gradients_finite, bits, watch


class Made(nn.Module):
    """A layer that applies a function between two linear ones."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def nested(function: Callable[[Tensor], Tensor]) -> nn.Module:
    inner = nn.Sequential(nn.Linear(4, 4), Made(function), nn.BatchNorm1d(4), nn.Dropout(0.2))
    return nn.Sequential(nn.Linear(3, 4), inner, nn.Linear(4, 2))


def test_a_nan_in_the_parts_of_a_wrapper_is_found() -> None:
    """As in the gradients of a sharded model, whose parameters are DTensors."""
    model = nn.Module()
    model.weight = nn.Parameter(TwoTensor(torch.zeros(3), torch.ones(3)))
    model.forward = lambda: (model.weight - 0).sqrt().sum()
    with pytest.raises(AssertionError, match=r"weight is not finite.* SqrtBackward0, turned"):
        assert_gradients_finite(model(), model)
    with pytest.warns(GradientWarning, match="weight is not finite"), watch(model):
        model().backward()


def test_what_other_processes_send_is_waited_for() -> None:
    """As in a DTensor whose part is an AsyncCollectiveTensor."""
    late: Any = TwoTensor(torch.full((3,), torch.nan), torch.zeros(3))
    late.trigger_wait = lambda: torch.zeros(3)
    assert bits.finite(late)


NOT_FINITE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "log of 0, forward": (lambda x: x + torch.log(x * 0), "AddBackward0|LogBackward0"),
    "sqrt of 0, only backward": (lambda x: x + torch.sqrt(x * 0), "SqrtBackward0"),
    "the norm of nothing": (lambda x: x + (x * 0).square().sum().sqrt(), "SqrtBackward0"),
    "infinity, only backward": (lambda x: big(x), "BigBackward"),
    "0 / 0 where a mask hides it": (
        lambda x: torch.where(x * 0 == 0, x, x / (x * 0)),
        "DivBackward0",
    ),
}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_what_is_not_finite_is_named(name: str) -> None:
    function, node = NOT_FINITE[name]
    model = nested(function)
    loss = model(torch.randn(5, 3)).square().mean()
    with pytest.raises(AssertionError, match=node) as caught:
        assert_gradients_finite(loss, model)
    assert "0.weight, 0.bias, 1.0.weight" in str(caught.value)


class Big(torch.autograd.Function):
    """Its forward is sound; its gradient overflows."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * torch.inf


def big(x: Tensor) -> Tensor:
    result: Tensor = Big.apply(x)
    return result


def test_a_sound_model_passes_and_nothing_changes() -> None:
    model = nested(torch.tanh)
    loss = model(torch.randn(5, 3)).square().mean()
    model[2].weight.grad = torch.ones(2, 4)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    random = torch.get_rng_state()
    assert_gradients_finite(loss, model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["2.weight"]
    assert torch.equal(model[2].weight.grad, torch.ones(2, 4))
    loss.backward()


def test_nothing_changes_when_it_fails() -> None:
    model = nested(lambda x: torch.log(x * 0))
    loss = model(torch.randn(5, 3)).sum()
    with pytest.raises(AssertionError):
        assert_gradients_finite(loss, model)
    assert all(p.grad is None for p in model.parameters())


def test_an_infinity_that_reaches_no_parameter_counts_too() -> None:
    """The slope of sqrt at 0 is infinite; ReLU's mask stops it."""
    weight = torch.tensor([-1.0, 2.0], requires_grad=True)
    loss = torch.sqrt(torch.relu(weight)).sum()
    with pytest.raises(AssertionError, match=r"but a node's is .* SqrtBackward0"):
        assert_gradients_finite(loss, {"weight": weight})


def test_leaves_without_names() -> None:
    weight = torch.zeros(2, requires_grad=True)
    with pytest.raises(AssertionError, match="leaf@"):
        assert_gradients_finite(weight.sqrt().sum())


def test_it_needs_a_graph() -> None:
    with pytest.raises(UsageError, match="no backward graph"):
        assert_gradients_finite(torch.ones(()))
