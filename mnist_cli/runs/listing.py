"""What the folders of runs tell without their checkpoints: one run, a list of them, a comparison.

Reads text files only and imports no torch, so that a list is there at once. Whatever lies in a
folder is no failure: what cannot be read is told in :attr:`RunRecord.problem`.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_cli.base.files import is_regular, is_there
from mnist_cli.errors import CheckpointError
from mnist_cli.runs.directory import RunDirectory, find_run, run_number

FINISHED, RUNNING, UNFINISHED = "finished", "running", "unfinished"
UNREADABLE, FOREIGN = "unreadable", "no run"

MAX_BYTES = 64 << 20  # of one text file: a line of metrics has 300 bytes, a run 100,000 at most

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it; what the folder does not tell is None, or empty.

    Attributes:
        path: the folder.
        state: one of "finished", "running", "unfinished", "unreadable", "no run".
        problem: why it is unreadable or no run, or which process writes it; else empty.
        dataset: the data set that was trained on, ``auto`` resolved where the run says it.
        model: the network's name.
        members: how many networks vote; 1 where there is no ensemble.
        epochs: how many have ended.
        planned: how many were configured.
        accuracy: on the test set, a fraction of 1.
        loss: on the test set, in nats.
        count: images of the test set.
        val_accuracy: the best epoch's on the validation set, a fraction of 1.
        seconds: of training, the steps alone.
        device: ``cpu``, ``cuda:0``, …
        device_name: the processor's or the GPU's own name.
        precision: fp32, bf16 or fp16.
        checkpoint: the name of the file that the test set was read with.
        written: when its figures were last written, in seconds since 1970.
        config: the resolved configuration.
        environment: what the run was made with and on.
    """

    path: Path
    state: str
    problem: str = ""
    dataset: str = ""
    model: str = ""
    members: int = 1
    epochs: int | None = None
    planned: int | None = None
    accuracy: float | None = None
    loss: float | None = None
    count: int | None = None
    val_accuracy: float | None = None
    seconds: float | None = None
    device: str = ""
    device_name: str = ""
    precision: str = ""
    checkpoint: str = ""
    written: float | None = None
    config: Figures = field(default_factory=dict, repr=False)
    environment: Figures = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


class _Garbled(ValueError):
    """A file that is there and does not hold what it should; the message says what it is."""


def list_runs(root: Path) -> list[RunRecord]:
    """Every folder under ``root`` that is not hidden, by number and then by name.

    Raises:
        OSError: ``root`` cannot be looked into.
    """
    entries = (path for path in root.iterdir() if not path.name.startswith("."))
    return [read_run(path) for path in sorted(filter(_is_folder, entries), key=_place)]


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - False, not an error, where it may not be asked


def _place(path: Path) -> tuple[float, str]:
    return run_number(path) or math.inf, path.name


def read_run(path: Path) -> RunRecord:
    """What one folder tells; never fails for what lies in it."""
    run = RunDirectory(path)
    try:
        return _read(run)
    except _Garbled as error:
        return _rescue(run, str(error))
    except OSError as error:
        return RunRecord(path, UNREADABLE, f"it cannot be read: {error.strerror or error}")


def _read(run: RunDirectory) -> RunRecord:
    files = (run.config, run.environment, run.metrics, run.summary)
    if not run_number(run.path) and not any(map(is_regular, (*files, run.last))):
        return RunRecord(run.path, FOREIGN, "it holds none of a run's files")
    config = _mapping(run.config, tomllib.loads)
    environment = _mapping(run.environment, json.loads)
    epochs = [_figures(line) for line in _lines(run.metrics)]
    summary = _mapping(run.summary, json.loads)
    writer = run.writer
    state = RUNNING if writer else FINISHED if summary else UNFINISHED
    test = _test(run.summary, summary) if summary else {}
    return RunRecord(
        path=run.path,
        state=state,
        problem=writer,
        written=_newest(files),
        config=config,
        environment=environment,
        **_identity(config, environment, summary),
        **_progress(config, epochs, summary),
        **test,
    )


def _rescue(run: RunDirectory, problem: str) -> RunRecord:
    """An unreadable run, with what its configuration says if that much is sound."""
    try:
        config = _mapping(run.config, tomllib.loads)
    except (_Garbled, OSError):
        return RunRecord(run.path, UNREADABLE, problem)
    identity = _identity(config, {}, {})
    planned = _whole(config, "epochs")
    return RunRecord(run.path, UNREADABLE, problem, planned=planned, config=config, **identity)


def _identity(config: Figures, environment: Figures, summary: Figures) -> dict[str, Any]:
    """What was trained, on which data, where; what a run resolved comes before what it was told."""
    sources = (summary, environment, config)

    def first(key: str) -> str:
        return next((text for source in sources if (text := _text(source, key))), "")

    return {
        "dataset": first("dataset"),
        "model": first("model"),
        "members": _whole(config, "ensemble") or 1,
        "device": first("device"),
        "device_name": first("device_name"),
        "precision": first("precision"),
        "checkpoint": Path(_text(summary, "checkpoint")).name,
    }


def _progress(config: Figures, epochs: Sequence[Figures], summary: Figures) -> dict[str, Any]:
    """How far it came, in how many seconds, and how well the best epoch did."""
    validated = [value for one in epochs if (value := _number(one, "val_accuracy")) is not None]
    seconds = [_number(one, "seconds") or 0.0 for one in epochs]
    trained = _number(summary, "train_seconds")
    return {
        "epochs": len(epochs),
        "planned": _whole(config, "epochs"),
        "val_accuracy": max(validated, default=None),
        "seconds": trained if trained is not None else sum(seconds) if epochs else None,
    }


def _test(path: Path, summary: Figures) -> dict[str, Any]:
    test = summary.get("test")
    if not isinstance(test, dict) or _number(test, "accuracy") is None:
        raise _Garbled(f"{path.name} has no test accuracy")
    return {
        "accuracy": _number(test, "accuracy"),
        "loss": _number(test, "loss"),
        "count": _whole(test, "count"),
    }


# --- files that may hold anything


def _mapping(path: Path, parse: Callable[[str], object]) -> dict[str, Any]:
    """What a file holds; nothing where there is none.

    Raises:
        _Garbled: it holds something else.
        OSError: it cannot be read.
    """
    text = _text_of(path)
    if text is None:
        return {}
    try:
        found = _plain(parse(text))
    except (ValueError, RecursionError) as error:
        raise _Garbled(f"{path.name} is garbled: {error!s:.100}") from error
    if not isinstance(found, dict):
        raise _Garbled(f"{path.name} holds a {type(found).__name__}, not a table")
    return found


def _plain(value: object) -> Any:
    """As JSON can say it: dates and figures that are not finite as text."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)


def _lines(path: Path) -> list[str]:
    return (_text_of(path) or "").splitlines()


def _figures(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Garbled(f"metrics.jsonl is garbled: {error!s:.100}") from error
    if not isinstance(found, dict):
        raise _Garbled("metrics.jsonl has a line that is not an epoch's figures")
    return found


def _text_of(path: Path) -> str | None:
    """The text of a plain file; None where there is nothing of that name."""
    if not is_there(path):
        return None
    if not is_regular(path):
        raise _Garbled(f"{path.name} is not a file")
    if path.stat().st_size > MAX_BYTES:
        raise _Garbled(f"{path.name} is far too large")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _Garbled(f"{path.name} is not text") from error


def _newest(files: Iterable[Path]) -> float | None:
    return max((path.stat().st_mtime for path in files if path.is_file()), default=None)


def _number(figures: Figures, key: str) -> float | None:
    value = figures.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(figures: Figures, key: str) -> int | None:
    value = figures.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(figures: Figures, key: str) -> str:
    value = figures.get(key)
    return value if isinstance(value, str) else ""


# --- several runs


SORTS: Mapping[str, Callable[[RunRecord], Any]] = {
    "name": lambda run: _place(run.path),
    "accuracy": lambda run: -run.accuracy if run.accuracy is not None else math.inf,
    "seconds": lambda run: run.seconds if run.seconds is not None else math.inf,
    "date": lambda run: -run.written if run.written is not None else math.inf,
}
"""The best, the quickest and the newest come first; runs without such a figure come last."""


def sort_runs(runs: Iterable[RunRecord], by: str) -> list[RunRecord]:
    """The runs in the order of one of :data:`SORTS`; those that are equal stay in order."""
    return sorted(runs, key=SORTS[by])


def open_run(target: Path, root: Path) -> RunRecord:
    """The run that an argument means: a folder, its name under ``root``, or its number.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    try:
        folder = find_run(target, root)
    except OSError as error:
        raise CheckpointError(f"cannot look for the run {target}: {error.strerror}") from error
    if folder is None:
        raise CheckpointError(
            f"there is no run {target}",
            f"`mnist runs --runs {root}` lists those there are; a number or a folder names one.",
        )
    run = read_run(folder)
    if run.state in (UNREADABLE, FOREIGN):
        raise CheckpointError(f"{folder} cannot be compared: {run.problem}", "Name another run.")
    return run


def differences(tables: Sequence[Figures], leave_out: Iterable[str] = ()) -> dict[str, list[Any]]:
    """The keys whose values differ between tables, each with its value in every one.

    A key that a table does not have counts as None, and an empty table, which tells nothing, as no
    difference. In the order in which the tables have them.
    """
    keys = dict.fromkeys(key for table in tables for key in table if key not in set(leave_out))
    rows = {key: [table.get(key) for table in tables] for key in keys}
    telling = [number for number, table in enumerate(tables) if table]
    return {
        key: row
        for key, row in rows.items()
        if any(row[number] != row[telling[0]] for number in telling)
    }
