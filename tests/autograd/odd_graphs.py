"""Graphs that people debug, each in its smallest form, which a replay and an inspection both try."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from autograd_zoo import leaf
from torch import Tensor, nn
from torch.autograd import Function

Made = tuple[Tensor, Any]
"""A root, and a model or names of its leaves."""


def frozen_since() -> Made:
    """As in a GAN's loop: the engine adds nothing to a leaf that no longer requires a gradient."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    loss = model(torch.randn(4, 3)).sum()
    model[0].weight.requires_grad_(False)
    model[1].requires_grad_(False)
    return loss, model


def nested() -> Made:
    a, b = leaf(2, 3), leaf(4, 3)
    padded = torch.nested.as_nested_tensor([a, b]).to_padded_tensor(0.0)
    return padded.relu().sum(), {"a": a, "b": b}


def jagged_relu() -> Made:
    x = leaf(6, 3)
    made = torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 2, 6]))
    return made.relu().values().sum(), {"x": x}


def sparse_gradient() -> Made:
    model = nn.Embedding(5, 3, sparse=True)
    return model(torch.tensor([1, 2, 1])).relu().sum(), model


class Boxed(Function):
    """Takes its gradients in one list, as the node of a compiled function does."""

    boxed_grads_call = True

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        return a * 2, a * 3

    @staticmethod
    def backward(ctx: Any, grads: list[Tensor | None]) -> Tensor:
        first, second = grads
        return (0 if first is None else first * 2) + (0 if second is None else second * 3)


def boxed() -> Made:
    if not hasattr(torch.autograd.function.BackwardCFunction, "apply_boxed"):
        pytest.skip("this torch has no boxed gradients")
    model = nn.Linear(3, 3)
    return Boxed.apply(model(torch.randn(2, 3)))[0].sum(), model


class Lazy(nn.Module):
    """Holds a lazy layer that never ran."""

    def __init__(self) -> None:
        super().__init__()
        self.never, self.full = nn.LazyLinear(5), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(x)


def lazy() -> Made:
    model = Lazy()
    return model(torch.randn(2, 3)).sum(), model
