"""One node of a backward graph, called by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node as LiveNode
from torch.utils.checkpoint import GraphExecGroup

from mnist_cli.autograd import node as adapter
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.torch_private import is_function, one_pass, unpack_hooks
from mnist_cli.autograd.undisturbed import RandomState, Unnamed, set_aside, strangers


def call_node(
    node: LiveNode, *grads: Tensor | None, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Call one node by hand.

    Args:
        node: any node but an AccumulateGrad.
        grads: one gradient for each of the node's inputs, of the shape it expects; None for a
            missing one. Default: ones.
        create_graph: keep grad mode on, so that the results have a graph themselves.

    Returns:
        One gradient or None for each edge of the node; always a tuple.

    Raises:
        UsageError: too many or too few gradients, one of the wrong shape (the right one is
            named), an AccumulateGrad, or a graph already freed.
        TypeError: ``node`` is not a node, or a gradient is not a tensor.
    """
    if not issubclass(type(node), LiveNode):
        hint = ": give its grad_fn" if isinstance(node, Tensor) else ""
        raise TypeError(f"node must be a node of a graph, not a {type(node).__name__}{hint}")
    if adapter.variable(node) is not None:
        raise UsageError(
            "AccumulateGrad is not called by hand: it would add to the parameter's .grad",
            "Call the node before it: its results arrive here.",
        )
    expected = adapter.inputs(node)
    given = grads or tuple(
        torch.ones(one.shape, dtype=one.dtype, device=one.device) if one.known else None
        for one in expected
    )
    _check_grads(adapter.name(node), given, expected)
    with torch.set_grad_enabled(create_graph), _alone(node):
        return adapter.call(node, given)


@contextmanager
def _alone(node: LiveNode) -> Iterator[None]:
    """Put back what the call of one node changes: it may run a Function or recompute a segment."""
    if not is_function(node) and next(unpack_hooks(node), None) is None:
        yield
        return
    devices = {one.device for one in adapter.inputs(node)}
    aside = set_aside(strangers([node], ()))
    random, unnamed = RandomState.now(devices), Unnamed.search([node])
    with aside, random.used(), unnamed.same(), one_pass(GraphExecGroup()):
        yield


def _check_grads(name: str, grads: tuple[Any, ...], expected: tuple[adapter.Input, ...]) -> None:
    if len(grads) != len(expected):
        shapes = ", ".join(str(one.shape) for one in expected)
        raise UsageError(
            f"{name} takes {len(expected)} gradient(s), not {len(grads)}",
            f"Pass one for each result of the forward operation, of shape {shapes}, "
            "or None for no gradient.",
        )
    for number, (grad, one) in enumerate(zip(grads, expected, strict=True)):
        if grad is not None and not isinstance(grad, Tensor):
            kind = type(grad).__name__
            raise TypeError(f"gradient {number} of {name} must be a tensor or None, not a {kind}")
        if grad is not None and one.known and tuple(grad.shape) != one.shape:
            raise UsageError(
                f"gradient {number} of {name} has shape {tuple(grad.shape)}",
                f"It must be {one.shape}, the shape of the forward result.",
            )
