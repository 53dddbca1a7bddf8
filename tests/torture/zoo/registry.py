"""The graphs by name, each built by plain torch in a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd import trace_modules

Made = tuple[Tensor, Any]
"""A root, and the model or the leaves by name."""


@dataclass(frozen=True)
class Graph:
    """A graph of the zoo.

    Attributes:
        kind: the row of the table that it belongs to.
        make: builds it; :class:`Missing` where this torch cannot.
        expects: how its outcome begins; ``exact`` unless it is known why not.
        by_backward: compared with ``backward``, as ``autograd.grad`` refuses it.
        slow: takes about a second or more: only ``make torture`` tries it.
    """

    kind: str
    make: Callable[[], tuple[Any, ...]]
    expects: str = "exact"
    by_backward: bool = False
    slow: bool = False


class MissingError(Exception):
    """This graph cannot be built here: the reason."""


ZOO: dict[str, Graph] = {}


def graph(kind: str, name: str = "", **options: Any) -> Callable[[Callable[[], Any]], Any]:
    """Add a function that builds a graph to the zoo."""

    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        key = name or make.__name__.strip("_")
        assert key not in ZOO, f"two graphs are called {key}"
        ZOO[key] = Graph(kind, make, **options)
        return make

    return add


def leaf(*shape: int, **options: Any) -> Tensor:
    return torch.randn(*shape, requires_grad=True, **options)


def total(value: Any) -> Tensor:
    """One real number that depends on every differentiable tensor of a result."""
    parts = [one for one in tensors(value) if one.requires_grad and one.numel()]
    if not parts:
        return torch.zeros(())
    squares = [(one.abs() if one.is_complex() else one).square().mean() for one in parts]
    return squares[0] if len(squares) == 1 else torch.stack([s.double() for s in squares]).sum()


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def run(model: nn.Module, *inputs: Any, **named: Any) -> tuple[Any, ...]:
    """A model's outputs as a graph, with the module that made each node."""
    with trace_modules(model) as modules:
        root = total(model(*inputs, **named))
    return root, model, modules


HELD = ExitStack()
"""Contexts that stay entered while a graph is inspected."""
