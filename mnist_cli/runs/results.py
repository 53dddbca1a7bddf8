"""The results of steps and epochs, as a run directory and a checkpoint hold them. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
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
        """The gradient's norm over the weight's; NaN if the weight is all zero, as a fresh bias may be."""
        return self.gradient / self.weight if self.weight else math.nan

    @property
    def update_to_weight(self) -> float:
        """The update's norm over the weight's; NaN if the weight is all zero, as a fresh bias may be."""
        return self.update / self.weight if self.weight else math.nan

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Norms:
        """The inverse of :func:`vars`."""
        return cls(float(plain["gradient"]), float(plain["weight"]), float(plain["update"]))


MEANS = {"loss": "images", "accuracy": "images", "grad_norm": "steps", "plain_loss": "images"}
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
        plain_loss: as ``loss``, without label smoothing, like the validation loss; None if an older
            program did not measure it.
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
    plain_loss: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """As plain numbers, flat except for the norms; without a validation set, its entries are None."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.loss,
            "train_plain_loss": self.plain_loss,
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
            loss = _number_or_none(plain["val_loss"])
            accuracy, count = float(plain["val_accuracy"]), int(plain["val_count"])
            val = Score(math.nan if loss is None else loss, accuracy, count)
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
            plain_loss=_number_or_none(plain.get("train_plain_loss")),
        )


@dataclass(frozen=True)
class StepRow:
    """The means over the steps since the row before, as a line of ``metrics.jsonl``.

    Attributes:
        epoch: of these steps, from 1.
        step: number of steps in the run so far.
        done: epochs done so far, with the fraction of the running one.
        loss: as in :class:`EpochResult`; so are the attributes below.
    """

    epoch: int
    step: int
    done: float
    loss: float
    plain_loss: float | None
    accuracy: float
    grad_norm: float
    lr: float

    def to_plain(self) -> dict[str, Any]:
        """As plain numbers, with the keys of an epoch's row; those that only an epoch has are None."""
        return dict.fromkeys(EPOCH_KEYS) | {
            "kind": STEP,
            "epoch": self.epoch,
            "step": self.step,
            "epochs_done": self.done,
            "train_loss": self.loss,
            "train_plain_loss": self.plain_loss,
            "train_accuracy": self.accuracy,
            "lr": self.lr,
            "grad_norm": self.grad_norm,
            "norms": {},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> StepRow:
        """The inverse of :meth:`to_plain`."""
        return cls(
            epoch=int(plain["epoch"]),
            step=int(plain["step"]),
            done=float(plain["epochs_done"]),
            loss=float(plain["train_loss"]),
            plain_loss=_number_or_none(plain["train_plain_loss"]),
            accuracy=float(plain["train_accuracy"]),
            grad_norm=float(plain["grad_norm"]),
            lr=float(plain["lr"]),
        )


STEP, EPOCH = "step", "epoch"
"""Kinds of rows of ``metrics.jsonl``. A row without a kind is an epoch's, of an older program."""

EPOCH_KEYS = ("kind", *EpochResult(1, 1, 0.0, 0.0, None, 0.0, 0.0, 0.0, 0.0).to_plain())
"""The keys of an epoch's row, in order."""


def metric_rows(
    steps: Sequence[StepRow], epochs: Sequence[EpochResult]
) -> Iterator[dict[str, Any]]:
    """The rows of ``metrics.jsonl``, sorted: the steps of each epoch, then the epoch itself."""
    of_steps = [(row.epoch, 0, row.step, row.to_plain()) for row in steps]
    of_epochs = [(one.epoch, 1, one.step, {"kind": EPOCH} | one.to_plain()) for one in epochs]
    for *_, plain in sorted([*of_steps, *of_epochs], key=lambda row: row[:3]):
        yield plain


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of ``metrics.jsonl``; JSON has no NaN and no infinity, so they become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    return json.dumps(finite, allow_nan=False) + "\n"


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)
