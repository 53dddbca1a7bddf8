"""The most likely classes, and when an answer is unsure. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

UNSURE = 0.6
"""Answers with a smaller probability are unsure: so are most wrong answers, and few right ones."""
BEST = 3


def most_likely(probabilities: Sequence[float]) -> tuple[int, ...]:
    """The most likely classes, at most :data:`BEST`, the most likely first."""
    order = sorted(range(len(probabilities)), key=lambda one: -probabilities[one])
    return tuple(order[:BEST])
