"""The notebook's experiments: build an expression, call its node, then its results' nodes.

Returns data and prints nothing. :mod:`mnist_cli.autograd.expression` reads the expression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnist_cli.autograd import node as adapter
from mnist_cli.autograd.brief import listed, shortened
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.expression import MAX_TOTAL, evaluate, names_in
from mnist_cli.autograd.graph import GradGraph, Node
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.query import nearest
from mnist_cli.autograd.single_call import call_node
from mnist_cli.autograd.values import fitted
from mnist_cli.autograd.walking import Walk, walk

MAX_CALLS = 256
"""Calls of one experiment: each order has one for each variable of each gradient before."""
MAX_NODES = 20_000
"""Nodes of a graph that is differentiated again: with each order it grows threefold."""


@dataclass(frozen=True, eq=False)
class NodeCall:
    """One node called by hand.

    Attributes:
        order: 1 for the expression's own node, 2 for the nodes of its results, and so on.
        parent: of a later order, which call's gradient this is: (call, variable).
        value: the tensor whose node is called.
        walked: the graph below that tensor.
        node: the node as plain data: its name, attributes and saved tensors.
        grads: what it was called with.
        results: one gradient or None for each edge.
        targets: what each result is the gradient of: a variable or a node; empty for None.
        gradients: the gradient of each variable, through the whole graph; equal to the results
            if the node's edges lead straight to variables.
    """

    order: int
    parent: tuple[int, str] | None
    value: Tensor
    walked: Walk
    node: Node
    grads: Grads
    results: Grads
    targets: tuple[str, ...]
    gradients: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return f"NodeCall(order {self.order}, {self.node!r}, to {listed(self.targets)})"


@dataclass(frozen=True, eq=False)
class Experiment:
    """An expression, its variables, its value, and every call that was made."""

    expression: str
    leaves: Mapping[str, Tensor]
    value: Tensor
    calls: tuple[NodeCall, ...]

    def __repr__(self) -> str:
        return f"Experiment({shortened(self.expression)}, {listed(self.calls, '; ')})"


@torch.inference_mode(False)  # grad mode is on, even if the caller's is off
def experiment(
    expression: str,
    leaves: Mapping[str, Tensor],
    grad: Tensor | None = None,
    *,
    create_graph: bool = False,
    orders: int = 1,
) -> Experiment:
    """Compute an expression and call the node that made it.

    Args:
        expression: a formula, such as ``"x * y"``.
        leaves: a leaf for each of its names; one that requires no gradient is a constant.
        grad: gradient of the value, of its shape, as a row with the same number of entries, or
            as one number for all entries; default: ones.
        create_graph: keep grad mode on, so that the results have a ``grad_fn`` themselves.
        orders: number of derivatives. Above 1, which needs ``create_graph``, the node of each
            variable's gradient is called with ones in its turn.

    Raises:
        UsageError: the expression cannot be read or computed; a variable has no value or is
            not in it; the gradient does not fit; or there is no node to call.
    """
    unused = [name for name in leaves if name not in names_in(expression)]
    if unused:
        hint = nearest(unused[0], list(names_in(expression)))
        raise UsageError(f"{unused[0]} has a value but is not in {expression!r}", hint)
    if orders < 1 or (orders > 1 and not create_graph):
        raise UsageError(
            f"orders = {orders} is out of range",
            "Set it to at least 1; values above 1 need create_graph.",
        )
    value = evaluate(expression, leaves)
    if value.grad_fn is None and not value.requires_grad:
        raise UsageError(
            f"{expression!r} has only constants, so it has no gradient",
            "Let one of its names require a gradient.",
        )
    if value.grad_fn is None:
        raise UsageError(
            f"{expression!r} is only a variable: no operation made it, so it has no node",
            "Apply an operation to it, such as x * 1.",
        )
    variables = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    start = torch.ones_like(value) if grad is None else fitted(grad, value.shape)
    first = _call(value, variables, start.detach().to(value), 1, None, create_graph)
    return Experiment(expression, leaves, value, tuple(_go_on(first, variables, orders)))


def _go_on(first: NodeCall, leaves: Mapping[str, Tensor], orders: int) -> list[NodeCall]:
    calls = [first]
    for number, call in enumerate(calls):
        if call.order >= orders:
            continue
        for name, gradient in call.gradients.items():
            if gradient.grad_fn is None:
                continue
            if len(calls) == MAX_CALLS:
                raise UsageError(
                    f"more than {MAX_CALLS} calls at order {call.order + 1}",
                    "Request fewer orders.",
                )
            _check_size(call, orders)
            ones = torch.ones_like(gradient).detach()
            calls.append(_call(gradient, leaves, ones, call.order + 1, (number, name), True))
    return calls


def _check_size(call: NodeCall, orders: int) -> None:
    """Refuse to differentiate a graph again that has grown too large."""
    graph = call.walked.graph
    entries = sum(math.prod(one.shape) for node in graph.nodes for one in node.outputs)
    if len(graph.nodes) > MAX_NODES or entries > MAX_TOTAL:
        raise UsageError(
            f"the graph of order {call.order} has {len(graph.nodes):,} nodes and {entries:,} "
            f"entries, too many for order {orders}",
            f"Request at most {call.order} orders.",
        )


def _call(
    value: Tensor,
    leaves: Mapping[str, Tensor],
    grad: Tensor,
    order: int,
    parent: tuple[int, str] | None,
    create_graph: bool,
) -> NodeCall:
    walked = walk(value, leaves)
    live, node = walked.nodes[0], walked.graph.nodes[0]
    grads: list[Tensor | None] = [None] * len(adapter.inputs(live))
    grads[walked.root_nr] = grad
    results = call_node(live, *grads, create_graph=create_graph)
    targets = tuple(_target(walked.graph, node, place) for place in range(len(results)))
    down = _down_to_leaves(value, leaves, grad, create_graph)
    return NodeCall(order, parent, value, walked, node, tuple(grads), results, targets, down)


def _down_to_leaves(
    value: Tensor, leaves: Mapping[str, Tensor], grad: Tensor, create_graph: bool
) -> dict[str, Tensor]:
    found = torch.autograd.grad(
        _Start.apply(value, grad),
        list(leaves.values()),
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    return {name: one for name, one in zip(leaves, found, strict=True) if one is not None}


class _Start(torch.autograd.Function):
    """A scalar that passes a given gradient to a tensor in the backward pass.

    To check a gradient that is given to ``grad`` itself, torch imports sympy (0.5 s).
    """

    @staticmethod
    def forward(context: Any, value: Tensor, grad: Tensor) -> Tensor:
        context.grad = grad
        return value.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(context: Any, *_: Tensor) -> tuple[Tensor, None]:
        return context.grad, None


def _target(graph: GradGraph, node: Node, position: int) -> str:
    edge = node.next[position] if position < len(node.next) else None
    if edge is None:
        return ""
    target = graph.nodes[edge.node]
    return target.parameter or target.name
