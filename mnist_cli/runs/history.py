"""Reads the steps and the epochs of a run from its directory."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.errors import CheckpointError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import EPOCH, STEP, EpochResult, StepRow

GARBLED = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Metrics:
    """The rows of ``metrics.jsonl``: the epochs, none before the first has ended, and the steps."""

    epochs: tuple[EpochResult, ...] = ()
    steps: tuple[StepRow, ...] = ()


def read_metrics(run: RunDirectory) -> Metrics:
    """The rows of ``metrics.jsonl``.

    Raises:
        CheckpointError: it is missing or damaged; the message names the line.
    """
    path = run.metrics
    if path.exists() and not path.is_file():
        raise CheckpointError(f"cannot read {path}: it is not a file", _instead(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # editors add the mark
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{run.path} has no {path.name}: it is not a run directory", "Name a run directory."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CheckpointError(f"cannot read {path}: {reason}", _instead(path)) from error
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line]
    return Metrics(
        tuple(row for row in rows if isinstance(row, EpochResult)),
        tuple(row for row in rows if isinstance(row, StepRow)),
    )


def _instead(metrics: Path) -> str:
    run = RunDirectory(metrics.parent)
    found = [one for one in (run.last, run.best) if one.is_file()]
    if not found:
        return "Name another run."
    return f"`mnist plot {shlex.quote(str(found[0]))}` draws what the checkpoint holds."


def _row(path: Path, number: int, line: str) -> EpochResult | StepRow:
    what = "an epoch's figures"
    try:
        plain = dict(json.loads(line))
        kind = plain.get("kind", EPOCH)
        if kind == STEP:
            what = "a step's figures"
            return StepRow.from_plain(plain)
        if kind != EPOCH:
            raise ValueError(f"its kind is {kind!r:.40}")
        return EpochResult.from_plain(plain)
    except GARBLED as error:
        raise CheckpointError(
            f"{path}, line {number}, is not {what}: {error!r:.100}", _instead(path)
        ) from error
