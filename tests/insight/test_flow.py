"""The data's way through a network, against torch's own flop counter and forwards by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_cli.config import choices
from mnist_cli.insight import flow
from mnist_cli.insight.flow import Flow, Weights, follow
from mnist_cli.insight.operations import formula
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
def test_every_network_costs_what_torch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build(name, 7)
    expected = flops(model, images())
    monkeypatch.setattr(flow.FlopCounterMode, "get_total_flops", lambda _self: 0)
    found = follow(model, images())
    assert 2 * found.multiply_adds == expected > 0
    assert found.weights.trained == sum(p.numel() for p in model.parameters())
    assert found.weights.fixed + found.weights.statistics == sum(b.numel() for b in model.buffers())
    assert found.weight_bytes == sum(t.nbytes for t in model.state_dict().values())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_steps_lead_from_the_images_to_the_scores(name: str) -> None:
    found = follow(models.build(name, 7), images())
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
    told = [(s.operation, s.module, s.sources, s.weights.trained) for s in found.steps]
    assert told == [
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


def convolved(x: Tensor) -> Tensor:
    return F.conv2d(x, torch.ones(6, 2, 3, 3), stride=2, padding=1, groups=2)


def transposed(x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, torch.ones(4, 3, 3, 3), stride=2)


CALLS: list[tuple[str, Callable[..., Tensor], tuple[Tensor, ...]]] = [
    ("conv1d", F.conv1d, (torch.ones(2, 3, 9), torch.ones(5, 3, 4))),
    ("conv2d", F.conv2d, (torch.ones(2, 3, 9, 7), torch.ones(5, 3, 4, 2))),
    ("conv3d", F.conv3d, (torch.ones(2, 3, 5, 5, 5), torch.ones(5, 3, 2, 2, 2))),
    ("conv_transpose2d", F.conv_transpose2d, (torch.ones(2, 3, 4, 4), torch.ones(3, 5, 3, 3))),
    ("linear", F.linear, (torch.ones(2, 7, 3), torch.ones(5, 3))),
    ("matmul", torch.matmul, (torch.ones(4, 2, 3), torch.ones(3, 5))),
    ("mm", torch.mm, (torch.ones(2, 3), torch.ones(3, 5))),
    ("bmm", torch.bmm, (torch.ones(4, 2, 3), torch.ones(4, 3, 5))),
    ("addmm", torch.addmm, (torch.ones(2, 5), torch.ones(2, 3), torch.ones(3, 5))),
    ("baddbmm", torch.baddbmm, (torch.ones(4, 2, 5), torch.ones(4, 2, 3), torch.ones(4, 3, 5))),
]


@pytest.mark.parametrize(("name", "function", "args"), CALLS, ids=[call[0] for call in CALLS])
def test_each_formula_is_torchs(
    name: str, function: Callable[..., Tensor], args: tuple[Tensor, ...]
) -> None:
    with FlopCounterMode(display=False) as counter:
        output = function(*args)
    count = formula(name, args, output)
    assert count is not None
    assert 2 * count == counter.get_total_flops()


class Calls(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        convolved,
        transposed,
        lambda x: x @ torch.ones(28, 3),
        lambda x: torch.ones(3, 28) @ x,
        lambda x: torch.einsum("ncij,kj->ncik", x, torch.ones(3, 28)),
    ],
    ids=["grouped", "transposed", "right", "left", "einsum"],
)
def test_operations_with_settings_and_those_without_a_formula(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = torch.ones(2, 4, 28, 28)
    model = Calls(function)
    assert 2 * follow(model, x).multiply_adds == flops(model, x) > 0


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


def test_costs_grow_with_the_batch_and_weights_do_not() -> None:
    def figures(found: Flow) -> tuple[int, int, int]:
        return found.multiply_adds, found.bytes, found.weight_bytes

    one, many = (figures(follow(models.build("conv2"), images(n))) for n in (1, 50))
    assert many == (50 * one[0], 50 * one[1], one[2])
