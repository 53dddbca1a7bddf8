"""Reads the epochs of a run from its directory."""

from __future__ import annotations

import json
from pathlib import Path

from mnist_cli.errors import CheckpointError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import EpochResult

GARBLED = (LookupError, TypeError, ValueError, AttributeError)


def read_history(run: RunDirectory) -> tuple[EpochResult, ...]:
    """The results in ``metrics.jsonl``; none before the end of the first epoch.

    Raises:
        CheckpointError: it is missing or damaged; the message names the line.
    """
    path = run.metrics
    if path.exists() and not path.is_file():
        raise CheckpointError(f"cannot read {path}: it is not a file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{run.path} has no {path.name}: it is not a run directory", "Name a run directory."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CheckpointError(f"cannot read {path}: {reason}") from error
    return tuple(_result(path, number, line) for number, line in enumerate(lines, 1))


def _result(path: Path, number: int, line: str) -> EpochResult:
    try:
        return EpochResult.from_plain(dict(json.loads(line)))
    except GARBLED as error:
        raise CheckpointError(
            f"{path}, line {number}, is not an epoch's figures: {error!r:.100}",
            "`mnist plot RUN/last.pt` draws what the checkpoint holds.",
        ) from error
