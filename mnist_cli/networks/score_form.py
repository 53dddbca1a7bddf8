"""Judges scores: whether they are probabilities, and whether they depend on other images."""

from __future__ import annotations

from torch import Tensor

ROUNDING = 0.01
"""How far sums of probabilities may be from 1, and equal scores apart; bf16 rounds to 0.004."""

_RESHAPING = ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Clone", "ToCopy")

WARNING = (
    "returns probabilities, not logits: softmax is applied to them, so losses and probabilities "
    "are wrong; let forward return the input of its softmax or sigmoid"
)

DEPENDENT = (
    "returns scores that depend on the other images of the batch in evaluation mode: softmax needs "
    "dim=1, view and reshape must not mix images, and a batch norm needs its running statistics"
)


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores (N, classes) are those of a softmax, or those of sigmoids by their graph.

    A softmax gives rows with the sum 1. The values of sigmoids prove nothing: with two classes, a new
    network's logits may lie between 0 and 1 too.
    """
    return _are_sigmoids(scores) or _are_shares(scores.detach().float())


def _are_shares(scores: Tensor) -> bool:
    sums = scores.sum(1)
    return len(sums) > 0 and bool((scores >= 0).all() and ((sums - 1).abs() <= ROUNDING).all())


def _are_sigmoids(scores: Tensor) -> bool:
    node = scores.grad_fn
    while node is not None and node.name().startswith(_RESHAPING):
        node = node.next_functions[0][0]
    return node is not None and node.name() == "SigmoidBackward0"


def are_dependent(scores: Tensor, alone: Tensor) -> bool:
    """Whether the first of ``scores`` (N, classes) differ from its image's ``alone`` (1, classes)."""
    room = ROUNDING * float(scores.abs().max())
    return bool((scores[:1] - alone).abs().max() > room)
