"""Results of epochs as training would tell them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnist_cli.runs.results import EpochResult, Score


def epoch(number: int, loss: float, **values: Any) -> EpochResult:
    """An epoch of one step, unless ``values`` say otherwise."""
    score = Score(loss / 2, 1 - loss / 2, 9)
    plain = EpochResult(number, number, loss, 1 - loss, score, 0.1 / number, 1.0, 1.0, 1.0)
    return replace(plain, **values)
