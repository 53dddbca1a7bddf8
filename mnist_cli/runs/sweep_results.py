"""The results of a sweep: a row per run, and mean and standard error over the seeds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mnist_cli.base.files import atomic_write
from mnist_cli.runs.listing import FINISHED, RunRecord
from mnist_cli.runs.sweeps import Cell, Sweep

FAILED, NOT_BEGUN = "failed", "not begun"


@dataclass(frozen=True)
class Mean:
    """A mean of ``count`` figures; ``error`` is its standard error, None for one figure."""

    mean: float
    error: float | None
    count: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> Mean | None:
        """The mean of some figures; None without any."""
        if not figures:
            return None
        count = len(figures)
        error = stdev(figures) / math.sqrt(count) if count > 1 else None
        return cls(fmean(figures), error, count)


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep and its outcome.

    Attributes:
        cell: what was to be trained.
        record: its run directory; None if it has none.
        failure: code, kind and message of the error that ended it; None without one.
    """

    cell: Cell
    record: RunRecord | None
    failure: Mapping[str, Any] | None

    @property
    def state(self) -> str:
        """In a word or two: "finished", "failed", "unfinished", "running", "not begun"."""
        if self.record is not None and self.record.state == FINISHED:
            return FINISHED
        if self.failure is not None:
            return FAILED
        return NOT_BEGUN if self.record is None else self.record.state

    def figure(self, name: str) -> float | None:
        """A figure of the record, by name; None unless the run is finished."""
        if self.record is None or self.state != FINISHED:
            return None
        found = getattr(self.record, name)
        return None if found is None else float(found)

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        record = self.record
        return {
            "number": self.cell.number,
            "values": dict(self.cell.values),
            "seed": self.cell.seed,
            "run": None if record is None else str(record.path),
            "state": self.state,
            "test": {name: self.figure(name) for name in ("loss", "accuracy", "count")},
            "val_accuracy": self.figure("val_accuracy"),
            "train_seconds": self.figure("seconds"),
            "error": self.failure and dict(self.failure),
        }


AVERAGED = ("accuracy", "loss", "val_accuracy", "seconds")


@dataclass(frozen=True)
class Setting:
    """The runs of a sweep that differ in the seed alone."""

    values: Mapping[str, Any]
    runs: tuple[SweptRun, ...]

    def mean(self, name: str) -> Mean | None:
        """Mean and standard error of a figure over the finished runs; None without any."""
        figures = [run.figure(name) for run in self.runs]
        return Mean.of([figure for figure in figures if figure is not None])

    def to_plain(self) -> dict[str, Any]:
        """As plain values; None for a figure that no run has."""
        means = {name: self.mean(name) for name in AVERAGED}
        return {
            "values": dict(self.values),
            "runs": len(self.runs),
            "finished": sum(run.state == FINISHED for run in self.runs),
            **{
                name: mean and {"mean": mean.mean, "standard_error": mean.error}
                for name, mean in means.items()
            },
        }


@dataclass(frozen=True)
class SweepResult:
    """Every run of a sweep in its present state."""

    sweep: Sweep
    runs: tuple[SweptRun, ...]

    @classmethod
    def of(cls, sweep: Sweep) -> SweepResult:
        """Read the run directories of a sweep."""
        return cls(
            sweep,
            tuple(
                SweptRun(cell, sweep.record(cell), sweep.failures.get(cell.number))
                for cell in sweep.cells
            ),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys without the seed."""
        return tuple(self.runs[0].cell.values)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The runs by what was set, in the order of the sweep."""
        grouped: dict[tuple[Any, ...], list[SweptRun]] = {}
        for run in self.runs:
            grouped.setdefault(tuple(run.cell.values.values()), []).append(run)
        return tuple(Setting(runs[0].cell.values, tuple(runs)) for runs in grouped.values())

    @property
    def best(self) -> Setting | None:
        """The setting with the highest mean accuracy on the validation set; None without any.

        The test set chooses nothing. Of equal settings, the first; ``equals`` has the others.
        """
        return next(iter(self._leaders), None)

    @property
    def equals(self) -> tuple[Setting, ...]:
        """The settings that are as good as the best one."""
        return self._leaders[1:]

    @property
    def _leaders(self) -> tuple[Setting, ...]:
        scored = [(mean.mean, one) for one in self.settings if (mean := one.mean("val_accuracy"))]
        highest = max((mean for mean, _ in scored), default=0.0)
        return tuple(one for mean, one in scored if mean == highest) if len(scored) > 1 else ()

    @property
    def failed(self) -> tuple[SweptRun, ...]:
        """The runs that failed."""
        return tuple(run for run in self.runs if run.state == FAILED)

    @property
    def code(self) -> int:
        """The exit code: 0, or the first failed run's."""
        return next((int(run.failure["code"]) for run in self.failed if run.failure), 0)

    def to_plain(self) -> dict[str, Any]:
        """As plain values: what ``--json`` prints."""
        return {
            "sweep": self.sweep.name,
            "folder": str(self.sweep.folder),
            "settings": [setting.to_plain() for setting in self.settings],
            "best": self.best and dict(self.best.values),
            "runs": [run.to_plain() for run in self.runs],
        }

    def write_table(self, path: Path) -> None:
        """Write a CSV file with a line per run.

        Raises:
            OutputError: it cannot be written.
        """
        text = io.StringIO()
        figures = ("accuracy", "loss", "val_accuracy", "seconds")
        head = ("run", *self.keys, "seed", "state", *figures)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        for run in self.runs:
            writer.writerow(
                [
                    "" if run.record is None else run.record.name,
                    *run.cell.values.values(),
                    run.cell.seed,
                    run.state,
                    *(run.figure(name) for name in figures),
                ]
            )
        atomic_write(path, text.getvalue())
