"""The operations of a forward pass, against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_cli.config import choices
from mnist_cli.insight.flow import Weights, follow
from mnist_cli.networks import registry as models

NETWORKS = [*models.REGISTRY, *(f"{name}x0.375" for name in choices.SCALABLE), "conv4x1.5"]


def images(count: int = 3) -> Tensor:
    return torch.zeros(count, 1, 28, 28)


def flops(model: nn.Module, x: Tensor) -> int:
    """What torch counts; a multiplication and an addition are two there."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_steps_of_every_network_lead_to_its_scores_and_add_up(name: str) -> None:
    model = models.build(name, 7)
    found = follow(model, images())
    assert 2 * found.multiply_adds == flops(model, images()) > 0
    assert found.weights.trained == sum(p.numel() for p in model.parameters())
    assert found.weights.fixed + found.weights.statistics == sum(b.numel() for b in model.buffers())
    assert found.weight_bytes == sum(t.nbytes for t in model.state_dict().values())
    assert found.steps[0].inputs == ((3, 1, 28, 28),)
    assert found.steps[-1].outputs == ((3, 7),)
    made = {0: {found.images}} | {step.number: set(step.outputs) for step in found.steps}
    for step in found.steps:
        assert all(number < step.number for number in step.sources)
        assert set(step.inputs) <= set().union(*(made[number] for number in step.sources))
    for kind in ("trained", "fixed", "statistics"):
        each = sum(getattr(step.weights, kind) for step in found.steps)
        assert each == getattr(found.weights, kind)
    assert found.unused == {}


def test_what_is_a_function_and_no_module_is_seen() -> None:
    found = follow(models.build("notebook"), images(1))
    assert [(step.module, step.operation) for step in found.steps] == [
        ("conv1", "convolution 5×5"),
        ("", "max pool 2×2"),
        ("", "ReLU"),
        ("conv2", "convolution 5×5"),
        ("conv2_drop", "dropout (only in training)"),
        ("", "max pool 2×2"),
        ("", "ReLU"),
        ("", "flatten"),
        ("fc1", "linear"),
        ("", "ReLU"),
        ("", "dropout (only in training)"),
        ("fc2", "linear"),
        ("", "log-softmax"),
    ]


def test_the_default_network_by_hand() -> None:
    """Figures worked out on paper: output pixels × output channels × weights of a filter."""
    found = follow(models.build("conv4").to(memory_format=torch.contiguous_format), images(1))
    costs = {step.module: step.multiply_adds for step in found.steps if step.multiply_adds}
    assert costs == {
        "conv1": 24 * 24 * 32 * (1 * 5 * 5),
        "conv2": 12 * 12 * 64 * (32 * 3 * 3),
        "conv3": 10 * 10 * 64 * (64 * 3 * 3),
        "conv4": 3 * 3 * 96 * (64 * 3 * 3),
        "fc": 864 * 10,
    }
    first = 32 * (24 * 24 + 3 * 12 * 12)
    second = 64 * 3 * 12 * 12
    third = 64 * (10 * 10 + 3 * 5 * 5)
    fourth = 96 * 3 * 3 * 3
    assert found.bytes == 4 * (first + second + third + fourth + 10)  # the flatten is a view


def test_a_bank_of_filters_is_fixed_and_a_norms_figures_are_statistics() -> None:
    oriented = follow(models.build("oriented"), images())
    bank = next(step for step in oriented.steps if step.module == "bank")
    assert bank.weights == Weights(trained=0, fixed=16 * 5 * 5, statistics=0)
    norm = next(s for s in follow(models.build("conv4"), images()).steps if s.module == "norm1")
    assert norm.weights == Weights(trained=64, fixed=0, statistics=65)
    frozen = models.build("conv2")
    frozen.conv1.requires_grad_(False)
    assert follow(frozen, images()).weights.fixed == 24 * 25 + 24


class Odd(nn.Module):
    """What the networks of the registry do not do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.again = nn.Parameter(torch.randn(4, 4, 1, 1))
        self.tied = nn.Linear(4, 4, bias=False)
        self.head = nn.Parameter(torch.randn(10, 4))
        self.spare = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x = x + F.conv2d(x, self.again)
        x = x.mean((2, 3))
        x = torch.cat([self.tied(x), self.tied(x)], dim=1)[:, :4]
        return x @ self.head.t()


def test_shared_derived_and_unused_weights_residuals_and_work_in_place() -> None:
    model = Odd()
    found = follow(model, images(2))
    seen = [(s.operation, s.module, s.sources, s.weights.trained) for s in found.steps]
    assert seen == [
        ("convolution 3×3, stride 2, padding 1", "body.0", (0,), 40),
        ("ReLU", "body.1", (1,), 0),
        ("convolution 1×1", "again", (2,), 16),
        ("add", "", (2, 3), 0),
        ("mean", "", (4,), 0),
        ("linear", "tied", (5,), 16),
        ("linear", "tied", (5,), 0),
        ("concatenate", "", (6, 7), 0),
        ("slice", "", (8,), 0),
        ("matrix product", "head", (9,), 40),
    ]
    assert found.unused == {"spare": 5}
    assert found.steps[1].bytes == found.steps[8].bytes == 0
    assert 2 * found.multiply_adds == flops(model, images(2))


class Calls(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


ONES = torch.ones

PRODUCTS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "grouped": (
        lambda x: F.conv2d(x, ONES(6, 2, 3, 3), stride=2, padding=1, groups=2),
        6 * 14 * 14 * (2 * 3 * 3),
    ),
    "transposed": (
        lambda x: F.conv_transpose2d(x, ONES(4, 3, 3, 3), stride=2),
        4 * 28 * 28 * (3 * 3 * 3),  # each number of the input meets the weights of one filter
    ),
    "1d": (lambda x: F.conv1d(x[:, 0], ONES(5, 28, 4)), 5 * 25 * (28 * 4)),
    "linear": (lambda x: F.linear(x, ONES(3, 28)), 4 * 28 * 3 * 28),
    "right": (lambda x: x @ ONES(28, 3), 4 * 28 * 3 * 28),
    "left": (lambda x: ONES(3, 28) @ x, 4 * 3 * 28 * 28),
    "batched": (lambda x: torch.bmm(x[:, 0], x[:, 1]), 28 * 28 * 28),
    "added": (lambda x: torch.addmm(ONES(3), x[:, 0, 0], ONES(28, 3)), 28 * 3),
    "einsum": (lambda x: torch.einsum("ncij,kj->ncik", x, ONES(3, 28)), 4 * 28 * 3 * 28),
}
"""Functions of images (2, 4, 28, 28), with the multiply-adds for one image worked out on paper."""


@pytest.mark.parametrize(("function", "expected"), PRODUCTS.values(), ids=PRODUCTS)
def test_products_by_hand(function: Callable[[Tensor], Tensor], expected: int) -> None:
    assert follow(Calls(function), torch.ones(2, 4, 28, 28)).multiply_adds == 2 * expected


def test_attention_is_two_products() -> None:
    """Of queries and keys, and of what comes of them and the values."""
    model = Calls(lambda x: F.scaled_dot_product_attention(x, x, x[..., :5]))
    found = follow(model, torch.ones(2, 4, 28, 16))
    assert found.multiply_adds == 2 * 4 * (28 * 28 * 16 + 28 * 28 * 5)
    head = nn.MultiheadAttention(16, 2, batch_first=True)
    heads = Calls(lambda x: head(x, x, x, need_weights=False)[0])
    projections = 4 * 28 * 16 * 16
    assert follow(heads, torch.ones(1, 28, 16)).multiply_adds == projections + 2 * 28 * 28 * 16


def test_the_mode_and_the_hooks_are_as_before_even_after_a_failure() -> None:
    model = models.build("conv2").train()
    with pytest.raises(RuntimeError):
        follow(model, torch.zeros(1, 3, 28, 28))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
