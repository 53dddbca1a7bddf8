"""The numeric check finds wrong gradients, passes right ones, and is honest about kinks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import ConvNet
from torch import Tensor, nn

from mnist_cli.autograd.numeric import gradcheck
from mnist_cli.errors import NonFiniteError, UsageError


def closure(model: nn.Module, images: Tensor) -> tuple:
    labels = torch.arange(len(images)) % 5
    return (lambda: F.cross_entropy(model(images), labels), dict(model.named_parameters()))


def test_a_whole_network_agrees_with_differences() -> None:
    torch.manual_seed(0)
    model = ConvNet().double()
    checks = gradcheck(*closure(model, torch.randn(6, 1, 8, 8, dtype=torch.float64)), samples=6)
    assert [check.name for check in checks] == [name for name, _ in model.named_parameters()]
    for check in checks:
        assert check.worst_error < 1e-6, check.worst
        assert len(check.smooth) + check.kinks == len(check.entries)
    assert sum(len(check.smooth) for check in checks) > 20


def test_parameters_and_random_state_are_left_alone() -> None:
    torch.manual_seed(0)
    model = ConvNet().double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    versions = [p._version for p in model.parameters()]
    state = torch.get_rng_state()
    gradcheck(*closure(model, torch.randn(3, 1, 8, 8, dtype=torch.float64)), samples=2)
    state_after = torch.get_rng_state()
    torch.set_rng_state(state)
    torch.randn(3, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(torch.get_rng_state(), state_after)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert [p._version for p in model.parameters()] == versions


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos() * 1.001


def test_a_gradient_wrong_by_a_thousandth_is_found() -> None:
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: Wrong.apply(x).sum(), {"x": x})
    assert check.worst_error == pytest.approx(1e-3, rel=0.02)
    assert check.kinks == 0


def test_kinks_are_not_judged() -> None:
    x = torch.tensor([0.0, 1.0, -1.0, 3e-6, -4e-6], dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: (x.relu() * 2).sum(), {"x": x})
    assert [entry.kink for entry in check.entries] == [True, False, False, True, True]
    assert check.worst_error < 1e-9
    assert check.kinks == 3


def test_where_no_entry_can_be_judged_there_is_no_error() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: x.relu().sum(), {"x": x})
    assert (check.kinks, check.worst, check.worst_error) == (3, None, 0.0)


def test_strong_curvature_is_no_kink() -> None:
    x = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: (50 * x).sin().exp().sum(), {"x": x})
    assert check.kinks == 0
    assert check.worst_error < 1e-6


def test_an_unused_parameter_has_a_zero_gradient_by_both() -> None:
    x, y = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    unused = gradcheck(lambda: x.exp().sum(), {"x": x, "y": y})[1]
    assert unused.worst_error == 0.0
    assert {entry.numeric for entry in unused.entries} == {0.0}


def test_samples_are_chosen_by_the_seed_and_bounded_by_the_size() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)

    def places(seed: int, samples: int) -> list[tuple[int, ...]]:
        (check,) = gradcheck(lambda: x.sum(), {"x": x}, seed=seed, samples=samples)
        return [entry.index for entry in check.entries]

    assert places(1, 6) == places(1, 6)
    assert places(1, 6) != places(2, 6)
    assert len(places(0, 100)) == 20


def test_gradcheck_takes_one_entry_of_an_expanded_tensor_and_numpys_whole_numbers() -> None:
    x = torch.ones((), dtype=torch.float64).expand(1).requires_grad_()
    assert x.stride() == (0,)
    (check,) = gradcheck(lambda: (x**2).sum(), {"x": x}, samples=np.int64(2))  # type: ignore[arg-type]
    assert check.worst_error < 1e-6


def test_what_gradcheck_refuses() -> None:
    single = torch.ones(2, requires_grad=True)
    with pytest.raises(UsageError, match="x is float32") as raised:
        gradcheck(lambda: single.sum(), {"x": single})
    assert "double()" in raised.value.hint
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(UsageError, match="the loss is float32"):
        gradcheck(lambda: x.float().sum(), {"x": x})
    with pytest.raises(UsageError, match="no parameter requires a gradient"):
        gradcheck(lambda: x.sum(), {"x": x.detach()})
    with pytest.raises(UsageError, match="samples is 0"):
        gradcheck(lambda: x.sum(), {"x": x}, samples=0)
    with pytest.raises(TypeError, match="must be a tensor, not a float"):
        gradcheck(lambda: x.sum(), {"x": 1.0})  # type: ignore[dict-item]
    odd = [x.expand(3, 2), x.to_sparse(), x.to("meta"), (x * 1j).conj()]
    for one in [made.detach().requires_grad_() for made in odd]:
        with pytest.raises(UsageError, match="the entries of x cannot be changed"):
            gradcheck(lambda: x.sum(), {"x": one})
    with pytest.raises(UsageError, match="must be a scalar"):
        gradcheck(lambda: x * 2, {"x": x})
    with pytest.raises(UsageError, match="the loss is complex"):
        gradcheck(lambda: x.sum() * 1j, {"x": x})
    with pytest.raises(TypeError, match="must be a tensor, not a float"):
        gradcheck(lambda: 3.0, {"x": x})  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="none of the parameters"):
        gradcheck(lambda: torch.ones(()), {"x": x})
    calls: list[int] = []

    def unsteady() -> Tensor:
        calls.append(1)
        return x.sum() * len(calls)

    with pytest.raises(UsageError, match="not the same when evaluated twice") as refused:
        gradcheck(unsteady, {"x": x})
    assert "--eval" in (refused.value.hint or "")


def test_a_gradient_that_is_not_finite_fails_the_check() -> None:
    """0 · ∞: the loss is 0 everywhere, and so is its slope, but autograd's is NaN."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: (x * 0).sqrt().sum(), {"x": x})
    assert all(entry.analytic != entry.analytic for entry in check.entries)
    assert (check.kinks, check.worst_error) == (0, float("inf"))


def test_at_the_edge_of_the_domain_differences_say_nothing() -> None:
    x = torch.tensor([1e-6, 2.0], dtype=torch.float64, requires_grad=True)
    (check,) = gradcheck(lambda: x.log().sum(), {"x": x})
    assert [entry.kink for entry in check.entries] == [True, False]
    assert check.worst_error < 1e-9


def test_a_loss_that_is_not_finite_is_refused() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for loss in (lambda: (x / x).sum(), lambda: x.log().sum()):
        with pytest.raises(NonFiniteError, match=r"the loss is (nan|-inf)"):
            gradcheck(loss, {"x": x})


def test_the_default_device_makes_no_difference() -> None:
    """With ``torch.set_default_device("cuda")`` the generator of the entries is on the CPU too."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with torch.device("meta"):
        (check,) = gradcheck(lambda: (x * x).sum(), {"x": x})
    assert len(check.smooth) == 3
