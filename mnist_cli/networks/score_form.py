"""Judges scores: whether they are probabilities, and whether they depend on other images."""

from __future__ import annotations

from torch import Tensor

ROUNDING = 0.01
"""How far sums of probabilities may be from 1, and equal scores apart; bf16 rounds to 0.004."""

WARNING = (
    "returns probabilities, not logits: softmax is applied to them, so losses and probabilities "
    "are wrong; let forward return the input of its softmax or sigmoid"
)

DEPENDENT = (
    "returns scores that depend on the other images of the batch in evaluation mode: softmax needs "
    "dim=1, view and reshape must not mix images, and a batch norm needs its running statistics"
)


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores (N, classes) are those of a softmax, each row's sum 1, or of sigmoids.

    All scores between 0 and 1 are those of sigmoids, if images have different scores: the biases
    of a linear layer may lie there too.
    """
    scores = scores.detach().float()
    if not len(scores) or not bool((scores >= 0).all()):
        return False
    sums = scores.sum(1)
    between = bool(((scores > 0) & (scores < 1)).all() and (scores != scores[0]).any())
    return between or bool(((sums - 1).abs() <= ROUNDING).all())


def are_dependent(scores: Tensor, alone: Tensor) -> bool:
    """Whether the first of ``scores`` (N, classes) differ from its image's ``alone`` (1, classes)."""
    room = ROUNDING * float(scores.abs().max())
    return bool((scores[:1] - alone).abs().max() > room)
