"""What only the tensors show, not their statistics: dead units, and the first NaN.

:mod:`mnist_cli.autograd.diagnosing` makes sentences of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from mnist_cli.autograd.bits import entries, finite, without_values
from mnist_cli.autograd.blocking import DeadUnits, is_relu
from mnist_cli.autograd.diagnosing import FirstBad, source_of
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
    It is dead for this batch if a gradient arrives at it, but none leaves at any place of any
    image in any call of its layer. A unit that receives no gradient is not counted, nor are the
    units of sparse and nested gradients and of those without values.

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
    layers: dict[Hashable, _Layer] = {}
    for node in recorded.graph.nodes:
        if not is_relu(node):
            continue
        came, left = recorded.grad_in[node.id][:1], recorded.grad_out[node.id][:1]
        if came and left and _has_units(came[0]) and _has_units(left[0]):
            before = _layer_before(recorded.graph, node)
            of_features = before is not None and before.name.startswith(OF_FEATURES)
            unit = came[0].dim() - 1 if of_features else 1
            key = _parameters(recorded.graph, before), came[0].dim(), came[0].shape[unit]
            layer = layers.setdefault(key if key[0] else node.id, _Layer())
            layer.add(node.id, came[0], left[0], unit)
    found: dict[int, DeadUnits] = {}
    for layer in layers.values():
        found |= dict.fromkeys(layer.nodes, layer.counted())
    return found


@dataclass
class _Layer:
    """The ReLUs after all calls of one layer; for each, which units get a gradient, and pass one on."""

    nodes: list[int] = field(default_factory=list)
    asked: list[Tensor] = field(default_factory=list)
    passed: list[Tensor] = field(default_factory=list)
    places: int = 0

    def add(self, node: int, came: Tensor, left: Tensor, unit: int) -> None:
        others = [d for d in range(came.dim()) if d != unit]
        self.nodes.append(node)
        self.asked.append((came != 0).sum(others) > 0)
        self.passed.append((left != 0).sum(others) > 0)
        self.places += came.numel() // max(1, came.shape[unit])

    def counted(self) -> DeadUnits:
        asked = torch.stack(self.asked).any(0)
        dead = asked & ~torch.stack(self.passed).any(0)
        return DeadUnits(int(dead.sum()), int(asked.sum()), self.places)


def _layer_before(graph: GradGraph, node: Node) -> Node | None:
    """The nearest layer of channels or features before a node, among a few nodes."""
    for _ in range(SEARCHED):
        ahead = [graph.nodes[edge.node] for edge in node.next if edge is not None]
        if not ahead:
            return None
        node = ahead[0]
        if node.name.startswith((*OF_CHANNELS, *OF_FEATURES)):
            return node
    return None


def _parameters(graph: GradGraph, layer: Node | None) -> tuple[int, ...]:
    """The nodes of a layer's own parameters, including transposed and cast ones."""
    edges = [edge for edge in layer.next if edge is not None] if layer is not None else []
    sources = [source_of(graph, graph.nodes[edge.node]) for edge in edges]
    return tuple(one.id for one in sources if one.parameter is not None)


def _has_units(grad: Tensor | None) -> TypeGuard[Tensor]:
    """Whether a gradient is a dense tensor with values and at least two dimensions."""
    dense = grad is not None and grad.layout == torch.strided and not grad.is_nested
    return grad is not None and dense and not without_values(grad) and grad.dim() > 1


def first_not_finite(walked: Walk) -> FirstBad | None:
    """Search the saved tensors of the forward pass for the first NaN or infinity.

    Not every node saves tensors, so the cause may be a node between this one and the nearest
    earlier one that does.

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
