"""Training figures of the epoch and of every few steps, on the device so that no step waits for it.

At every ``every``-th step of an epoch, the sums so far are copied on the device. Rows are the
differences between copies, computed when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mnist_cli.config.schema import TrainConfig
from mnist_cli.devices.kinds import sum_dtype
from mnist_cli.runs.results import MEANS, StepRow

POINTS = 100
"""Approximate number of rows of a run if ``log_every`` is 0."""

ROW_FIELDS, MARK_FIELDS = 8, 5 + len(MEANS)


@dataclass
class Running:
    """Sums over the epoch so far, kept on the device so that no step waits for it.

    Attributes:
        sums: (M,), float32 or float64: one for each of :data:`~mnist_cli.runs.results.MEANS`.
        images: number of images trained on.
        steps: number of steps taken.
        norms: (P, 3), float32: see :func:`mnist_cli.training.norms.measure`; None until the
            epoch's middle step is done.
    """

    sums: Tensor
    images: int = 0
    steps: int = 0
    norms: Tensor | None = None

    @classmethod
    def on(cls, device: torch.device) -> Running:
        """Sums of 0, on ``device``."""
        return cls(torch.zeros(len(MEANS), dtype=sum_dtype(device), device=device))

    def add(self, **terms: Tensor) -> None:
        """Add one step's terms () to the sums, by the names of ``MEANS``.

        A term that is not finite counts as 0: fp16's scaler has skipped that step. The host calls
        :meth:`count` separately, since a captured step runs on the device alone.
        """
        stacked = torch.stack([terms[name] for name in MEANS])
        self.sums += torch.nan_to_num(stacked, nan=0.0, posinf=0.0, neginf=0.0)

    def count(self, steps: int, images: int) -> None:
        """Count steps and the total number of their images."""
        self.images += images
        self.steps += steps

    def reset(self) -> None:
        """Start the next epoch, in the same memory: a captured step adds to that memory."""
        self.sums.zero_()
        self.images = self.steps = 0
        self.norms = None

    def means(self) -> dict[str, float]:
        """The means so far, by name; waits for the device."""
        sums = zip(MEANS, self.sums.tolist(), strict=True)
        return {name: total / max(getattr(self, MEANS[name]), 1) for name, total in sums}


@dataclass(frozen=True)
class Mark:
    """The sums of the running epoch after ``batch`` of its steps, and ``step`` of the run."""

    batch: int
    step: int
    images: int
    steps: int
    lr: float
    sums: Tensor


@dataclass
class StepLog:
    """The rows of finished epochs, and the marks of the running one."""

    rows: list[StepRow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def close(self, epoch: int, batches: int) -> None:
        """Turn the marks of epoch ``epoch``, counted from 0, into rows; waits for the device."""
        self.rows += self.pending(epoch, batches)
        self.marks.clear()

    def pending(self, epoch: int, batches: int) -> list[StepRow]:
        """The rows of the running epoch so far; waits for the device."""
        return rows_between(None, self.marks, epoch, batches)

    def to_document(self) -> dict[str, Tensor]:
        """As a checkpoint holds it: rows (R, 8) and marks (M, 9), float64 on the CPU."""
        rows = [[math.nan if x is None else x for x in astuple(row)] for row in self.rows]
        marks = [
            [one.batch, one.step, one.images, one.steps, one.lr, *one.sums.tolist()]
            for one in self.marks
        ]
        return {"rows": _table(rows, ROW_FIELDS), "marks": _table(marks, MARK_FIELDS)}

    def restore(self, document: Mapping[str, Any], sums: Tensor) -> None:
        """The inverse of :meth:`to_document`; marks get the dtype and device of ``sums`` (M,).

        Raises:
            ValueError, TypeError, LookupError: ``document`` is garbled.
        """
        self.rows[:] = rows_of(document)
        self.marks[:] = [
            Mark(int(batch), int(step), int(images), int(steps), lr, sums.new_tensor(means))
            for batch, step, images, steps, lr, *means in _checked(document["marks"], MARK_FIELDS)
        ]


def rows_between(
    start: Mark | None, marks: Sequence[Mark], epoch: int, batches: int
) -> list[StepRow]:
    """The means between each mark and the one before it; waits for the device.

    Args:
        start: the mark before ``marks``; None is the beginning of the epoch.
        marks: of one epoch, in order.
        epoch: that epoch, counted from 0.
        batches: number of steps of an epoch.
    """
    if not marks:
        return []
    first = [] if start is None else [start]
    sums = torch.stack([mark.sums for mark in [*first, *marks]]).double().tolist()
    before = sums.pop(0) if start else [0.0] * len(MEANS)
    images, steps = (start.images, start.steps) if start else (0, 0)
    rows = []
    for mark, after in zip(marks, sums, strict=True):
        counted = {"images": mark.images - images, "steps": mark.steps - steps}
        means = {
            name: (new - old) / max(counted[MEANS[name]], 1)
            for name, old, new in zip(MEANS, before, after, strict=True)
        }
        plain = known(means.pop("plain_loss"))
        done = epoch + mark.batch / batches
        rows.append(StepRow(epoch + 1, mark.step, done, plain_loss=plain, lr=mark.lr, **means))
        before, images, steps = after, mark.images, mark.steps
    return rows


def rows_of(document: Mapping[str, Any]) -> list[StepRow]:
    """The rows of finished epochs that a checkpoint holds.

    Raises:
        ValueError, TypeError, LookupError: they are garbled.
    """
    return [
        StepRow(int(epoch), int(step), done, loss, known(plain), accuracy, norm, lr)
        for epoch, step, done, loss, plain, accuracy, norm, lr in _checked(
            document["rows"], ROW_FIELDS
        )
    ]


def interval(config: TrainConfig, batches: int) -> int:
    """Number of steps between two rows: ``log_every``, or for about :data:`POINTS` rows per run.

    An epoch has at least one row.
    """
    steps = config.epochs * batches
    if config.max_steps:
        steps = min(steps, config.max_steps)
    return min(config.log_every or max(1, round(steps / POINTS)), batches)


def due(before: int, batch: int, every: int) -> range:
    """The steps of an epoch after ``before``, up to ``batch``, after which a mark is due."""
    return range((before // every + 1) * every, batch + 1, every)


def known(value: float) -> float | None:
    """None for NaN: an older program did not measure it."""
    return None if math.isnan(value) else value


def _table(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, width)


def _checked(saved: Any, width: int) -> list[list[float]]:
    plain = isinstance(saved, Tensor) and saved.dtype == torch.float64
    if not plain or saved.ndim != 2 or saved.shape[1] != width or bool(saved.isinf().any()):
        raise ValueError("its rows of steps are garbled")
    rows: list[list[float]] = saved.tolist()
    return rows
