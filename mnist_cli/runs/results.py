"""The results of an epoch, as a run directory and a checkpoint hold them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """Mean loss (cross-entropy, nats) and accuracy (a fraction of 1) over ``count`` images."""

    loss: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Norms:
    """2-norms of a parameter, or of all of a layer's together, in one step.

    Attributes:
        gradient: of the gradient that the optimiser was given, clipped if the run clips.
        weight: of the weight before the step.
        update: of the change by the step, with learning rate, momentum and weight decay.
    """

    gradient: float
    weight: float
    update: float

    @property
    def gradient_to_weight(self) -> float:
        """NaN if the weight is all zero, as a fresh bias may be."""
        return self.gradient / self.weight if self.weight else math.nan

    @property
    def update_to_weight(self) -> float:
        """NaN if the weight is all zero, as a fresh bias may be."""
        return self.update / self.weight if self.weight else math.nan

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Norms:
        """The inverse of :func:`vars`."""
        return cls(float(plain["gradient"]), float(plain["weight"]), float(plain["update"]))


MEANS = {"loss": "images", "accuracy": "images", "grad_norm": "steps"}
"""Fields of :class:`EpochResult` that are means over an epoch's images or steps.

A checkpoint holds their sums in this order: append only.
"""


@dataclass(frozen=True)
class EpochResult:
    """One epoch's results, as a line of ``metrics.jsonl``; of an ensemble, the members' means.

    Attributes:
        epoch: its number, from 1.
        step: number of steps in the run so far.
        loss: mean loss over the training images as they were trained on: augmented, before each
            step.
        accuracy: of the same images, a fraction of 1.
        val: score on the validation set; of an ensemble, its vote's.
        lr: learning rate of the last step.
        grad_norm: mean over steps of the whole gradient's 2-norm before clipping.
        images_per_second: number of images of all ranks over ``seconds``.
        seconds: of the steps alone.
        norms: of each trained parameter, by name, in the epoch's middle step; empty if an older
            program measured none.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    val: Score | None
    lr: float
    grad_norm: float
    images_per_second: float
    seconds: float
    norms: Mapping[str, Norms] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """As plain numbers, flat but for the norms; without a validation set its are None."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.loss,
            "train_accuracy": self.accuracy,
            "val_loss": self.val.loss if self.val else None,
            "val_accuracy": self.val.accuracy if self.val else None,
            "val_count": self.val.count if self.val else None,
            "lr": self.lr,
            "grad_norm": self.grad_norm,
            "images_per_second": self.images_per_second,
            "seconds": self.seconds,
            "norms": {name: dict(vars(norms)) for name, norms in self.norms.items()},
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EpochResult:
        """The inverse of :meth:`to_plain`."""
        val = None
        if plain["val_count"] is not None:
            figures = float(plain["val_loss"]), float(plain["val_accuracy"])
            val = Score(*figures, int(plain["val_count"]))
        return cls(
            epoch=int(plain["epoch"]),
            step=int(plain["step"]),
            loss=float(plain["train_loss"]),
            accuracy=float(plain["train_accuracy"]),
            val=val,
            lr=float(plain["lr"]),
            grad_norm=float(plain["grad_norm"]),
            images_per_second=float(plain["images_per_second"]),
            seconds=float(plain["seconds"]),
            norms={name: Norms.from_plain(of) for name, of in plain.get("norms", {}).items()},
        )
