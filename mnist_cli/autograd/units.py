"""What only the tensors show, not their figures: dead units, and the first NaN.

:mod:`mnist_cli.autograd.diagnosing` makes sentences of them.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from mnist_cli.autograd.bits import finite, without_values
from mnist_cli.autograd.diagnosing import DeadUnits, FirstBad, is_relu
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.order import operations
from mnist_cli.autograd.recording import Recording
from mnist_cli.autograd.saved import saved_by
from mnist_cli.autograd.walking import Walk


def dead_units(recorded: Recording) -> dict[int, DeadUnits]:
    """Count the dead units of every ReLU, by node id.

    A unit is one index of dimension 1 (a channel, or a feature of a fully connected layer).
    It is dead for this batch if a gradient arrives at it and none leaves, at any place of any
    image. A unit that receives no gradient is not counted, nor are the units of sparse and nested
    gradients and of those without values.

    Args:
        recorded: a recording made with ``keep=True``.

    Raises:
        UsageError: the recording did not keep the gradients.
    """
    if not recorded.grad_in and recorded.graph.nodes:
        raise UsageError(
            "counting dead units needs the gradients themselves",
            "Record with keep=True.",
        )
    counts = {}
    for node in recorded.graph.nodes:
        if not is_relu(node):
            continue
        came, left = recorded.grad_in[node.id][:1], recorded.grad_out[node.id][:1]
        if came and left and _has_units(came[0]) and _has_units(left[0]):
            others = [d for d in range(came[0].dim()) if d != 1]
            asked = (came[0] != 0).sum(others) > 0
            dead = asked & ((left[0] != 0).sum(others) == 0)
            counts[node.id] = DeadUnits(int(dead.sum()), int(asked.sum()))
    return counts


def _has_units(grad: Tensor | None) -> TypeGuard[Tensor]:
    """Whether a gradient is a dense tensor with values and at least two dimensions."""
    dense = grad is not None and grad.layout == torch.strided and not grad.is_nested
    return grad is not None and dense and not without_values(grad) and grad.dim() > 1


def first_not_finite(walked: Walk) -> FirstBad | None:
    """Search the saved tensors of the forward pass for the first NaN or infinity.

    Not every node saves tensors: the culprit may be one of the few nodes between this one and
    the one before it that does.

    Raises:
        UsageError: the graph was already freed.
    """
    for node in operations(walked.graph):
        tensors = saved_by(walked.nodes[node.id]).tensors
        bad = [slot for slot, tensor in tensors if not finite(tensor)]
        if bad:
            inputs = [slot for slot, _ in tensors if not slot.startswith("result")]
            made = bool(inputs) and not set(inputs) & set(bad)
            return FirstBad(node.id, bad[0], node.module, made)
    return None
