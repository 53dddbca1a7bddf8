"""Whether a network's scores are probabilities already, to which softmax should not be applied."""

from __future__ import annotations

from torch import Tensor

ROUNDING = 0.01
"""How far sums of probabilities may be from 1; bf16 rounds to 0.004."""

WARNING = (
    "returns probabilities, not logits: softmax is applied to them again, so losses and "
    "probabilities are wrong; let forward return the input of its softmax"
)


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores (N, classes) are those of a softmax: none negative, each row's sum 1."""
    scores = scores.detach().float()
    sums = scores.sum(1)
    return len(sums) > 0 and bool((scores >= 0).all() and ((sums - 1).abs() <= ROUNDING).all())
