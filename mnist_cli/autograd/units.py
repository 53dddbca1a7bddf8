"""What only the tensors show, not their figures: dead units, and the first NaN.

:mod:`mnist_cli.autograd.diagnosing` makes sentences of them.
"""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch import Tensor

from mnist_cli.autograd.bits import entries, finite, without_values
from mnist_cli.autograd.blocking import DeadUnits, is_relu
from mnist_cli.autograd.diagnosing import FirstBad
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import GradGraph, Node, check_kind
from mnist_cli.autograd.order import operations
from mnist_cli.autograd.recording import Recording
from mnist_cli.autograd.saved import saved_by
from mnist_cli.autograd.walking import Walk

OF_CHANNELS = ("Convolution", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm")
OF_FEATURES = ("Addmm", "Mm", "Bmm", "Baddbmm", "NativeLayerNorm", "Embedding")
"""Beginnings of the names of nodes whose results have a channel in dimension 1, or a feature in the
last."""
SEARCHED = 20
"""Nodes before a ReLU among which one of these is searched."""


def dead_units(recorded: Recording) -> dict[int, DeadUnits]:
    """Count the dead units of every ReLU, by node id.

    After a convolution or a norm of channels, a unit is one channel. After a linear layer, it is
    one feature, an index of the last dimension.
    It is dead for this batch if a gradient arrives at it and none leaves, at any place of any
    image. A unit that receives no gradient is not counted, nor are the units of sparse and nested
    gradients and of those without values.

    Args:
        recorded: a recording made with ``keep=True``.

    Raises:
        UsageError: the recording did not keep the gradients.
    """
    check_kind(recorded, Recording, "record(walk(loss), keep=True) makes one")
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
            unit = _unit_dimension(recorded.graph, node, came[0].dim())
            others = [d for d in range(came[0].dim()) if d != unit]
            asked = (came[0] != 0).sum(others) > 0
            dead = asked & ((left[0] != 0).sum(others) == 0)
            places = came[0].numel() // max(1, came[0].shape[unit])
            counts[node.id] = DeadUnits(int(dead.sum()), int(asked.sum()), places)
    return counts


def _unit_dimension(graph: GradGraph, node: Node, dimensions: int) -> int:
    """The last dimension if a linear layer comes before the node, nearer than one of channels."""
    for _ in range(SEARCHED if dimensions > 2 else 0):
        ahead = [graph.nodes[edge.node] for edge in node.next if edge is not None]
        if not ahead or node.name.startswith(OF_CHANNELS):
            return 1
        node = ahead[0]
        if node.name.startswith(OF_FEATURES):
            return dimensions - 1
    return 1


def _has_units(grad: Tensor | None) -> TypeGuard[Tensor]:
    """Whether a gradient is a dense tensor with values and at least two dimensions."""
    dense = grad is not None and grad.layout == torch.strided and not grad.is_nested
    return grad is not None and dense and not without_values(grad) and grad.dim() > 1


def first_not_finite(walked: Walk) -> FirstBad | None:
    """Search the saved tensors of the forward pass for the first NaN or infinity.

    Not every node saves tensors: the culprit may be one of the few nodes between this one and
    the one before it that does.

    Minus infinity is an ordinary value of attention masks, and of results if the root is finite,
    as of the softmax of masked logits.

    Raises:
        UsageError: the graph was already freed.
    """
    check_kind(walked, Walk, "walk(loss) makes one")
    sound = isinstance(walked.root, Tensor) and finite(walked.root)
    for node in operations(walked.graph):
        tensors = saved_by(walked.nodes[node.id]).tensors
        odd = [(slot, tensor) for slot, tensor in tensors if not finite(tensor)]
        bad = [slot for slot, one in odd if not (_may_mask(slot, sound) and _masks(one))]
        if bad:
            inputs = [slot for slot, _ in tensors if not slot.startswith("result")]
            made = bool(inputs) and not set(inputs) & {slot for slot, _ in odd}
            return FirstBad(node.id, bad[0], node.module, made)
    return None


def _may_mask(slot: str, sound: bool) -> bool:
    """Whether attention saves its mask in a slot, or a result of a pass with a finite root is there."""
    return slot in {"attn_mask", "attn_bias"} or (sound and slot == "result")


def _masks(tensor: Tensor) -> bool:
    """Whether all entries of a tensor of any shape are finite or minus infinity."""
    values = entries(tensor)
    return bool((values[~torch.isfinite(values)].double() == -math.inf).all())
