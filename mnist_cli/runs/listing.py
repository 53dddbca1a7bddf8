"""Run directories without their checkpoints: one run, a list of them, a comparison.

Reads text files only and imports no torch, so that a list appears at once. The content of a folder
never makes this fail: :attr:`RunRecord.problem` says what cannot be read.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from mnist_cli.base.files import is_regular, is_there
from mnist_cli.base.process import command_line
from mnist_cli.config import keys
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError
from mnist_cli.runs.directory import LOCK, RunDirectory, find_run, known_runs, run_number
from mnist_cli.runs.history import read_metrics
from mnist_cli.runs.results import EpochResult

FINISHED, RUNNING, UNFINISHED = "finished", "running", "unfinished"
UNREADABLE, FOREIGN = "unreadable", "no run"

_NAMING = "A number, a name or a folder names a run."
Figures = Mapping[str, Any]
_NOTHING: Figures = {}
_CONFIG = ("-c", "--config")
_TEXTS = ("dataset", "model", "device", "device_name", "precision", "checkpoint", "stop_reason")


def _or(default: object) -> WrapValidator:
    """Takes the default for a value of a wrong type."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            return default

    return WrapValidator(validate)


Number = Annotated[float | None, Field(strict=True, allow_inf_nan=False), _or(None)]
Count = Annotated[int | None, Field(strict=True), _or(None)]
_NUMBER: TypeAdapter[float | None] = TypeAdapter(Number)


class RunRecord(BaseModel):
    """One run as its folder describes it; missing values are None or empty.

    Attributes:
        path: the folder.
        state: one of "finished", "running", "unfinished", "unreadable", "no run".
        problem: why it is unreadable or no run, or which process writes it; else empty.
        dataset: the data set of the training, with ``auto`` resolved if the run records it.
        model: the network's name.
        members: number of networks that vote; 1 without an ensemble.
        epochs: number of finished epochs.
        planned: number of configured epochs.
        accuracy: on the test set, a fraction of 1.
        loss: on the test set, in nats.
        count: images of the test set.
        val_accuracy: the best epoch's on the validation set, a fraction of 1.
        seconds: of training, the steps alone.
        device: ``cpu``, ``cuda:0``, …
        device_name: the processor's or the GPU's own name.
        precision: fp32, bf16 or fp16.
        checkpoint: the name of the file that was evaluated on the test set.
        stop_reason: why it ended before its last epoch; empty if it did not.
        written: when its figures were last written, in seconds since 1970.
        config: the resolved configuration.
        environment: the versions and the machine of the run.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    state: str
    problem: str = ""
    dataset: str = ""
    model: str = ""
    members: Annotated[int, Field(strict=True), _or(1)] = 1
    epochs: int | None = None
    planned: Count = None
    accuracy: Number = None
    loss: Number = None
    count: Count = None
    val_accuracy: float | None = None
    seconds: float | None = None
    device: str = ""
    device_name: str = ""
    precision: str = ""
    checkpoint: str = ""
    stop_reason: str = ""
    written: float | None = None
    config: Figures = Field(default_factory=dict, repr=False)
    environment: Figures = Field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def recipe(self) -> str:
        """What its configuration came from, such as a preset; empty for the defaults."""
        recorded = self.environment.get("recipe")
        if isinstance(recorded, str):
            return recorded
        command = self.environment.get("command")  # of a run before recipes were recorded
        words = list(map(str, command)) if isinstance(command, list) else []
        named = [after for word, after in itertools.pairwise(words) if word in _CONFIG]
        joined = [word.partition("=")[2] for word in words if word.startswith("--config=")]
        return Path((named + joined or [""])[-1]).stem


def list_runs(root: Path) -> list[RunRecord]:
    """Every folder under ``root`` that is not hidden, by number and then by name.

    Raises:
        OSError: ``root`` cannot be read.
    """
    entries = (path for path in root.iterdir() if not path.name.startswith("."))
    folders = filter(os.path.isdir, entries)  # of Path, without permission, it is an error
    return [read_run(path) for path in sorted(folders, key=_place) if path.name != SWEEPS]


def _place(path: Path) -> tuple[float, str]:
    return run_number(path) or math.inf, path.name


def is_run(path: Path) -> bool:
    """Whether a folder holds a run's files, or nothing at all but its lock."""
    run = RunDirectory(path)
    files = (run.config, run.environment, run.metrics, run.summary, run.last, run.best)
    names = {entry.name for entry in path.iterdir()}
    return any(map(is_regular, files)) or names <= {LOCK}


def read_run(path: Path) -> RunRecord:
    """The record of one folder, whatever its content."""
    run, config = RunDirectory(path), {}
    files = (run.config, run.environment, run.metrics, run.summary)
    try:
        if not is_there(path):
            raise _GarbledError("the folder was removed")
        if not run_number(path) and not any(map(is_regular, (*files, run.last))):
            return RunRecord(path=path, state=FOREIGN, problem="it holds none of a run's files")
        config = _table(run.config, tomllib.loads)
        environment = _table(run.environment, json.loads)
        epochs = read_metrics(run).epochs if is_there(run.metrics) else ()
        summary = _table(run.summary, json.loads)
        record = _record(run, config, environment, epochs, summary)
        if summary and record.accuracy is None:
            raise _GarbledError("summary.json has no test accuracy")
        written = [file.stat().st_mtime for file in files if file.is_file()]
        return record.model_copy(update={"written": max(written, default=None)})
    except (_GarbledError, CheckpointError) as error:
        problem = error.args[0].replace(f"{path}{os.sep}", "")
    except OSError as error:
        problem = f"it cannot be read: {error.strerror or error}"
    return _record(run, config).model_copy(update={"state": UNREADABLE, "problem": problem})


def _record(
    run: RunDirectory,
    config: Figures,
    environment: Figures = _NOTHING,
    epochs: Sequence[EpochResult] | None = None,
    summary: Figures = _NOTHING,
) -> RunRecord:
    """The record of a run with these files; resolved values precede configured ones."""
    texts = {
        key: value
        for table in (config, environment, summary)
        for key, value in table.items()
        if key in _TEXTS and isinstance(value, str) and value
    }
    test = found if isinstance(found := summary.get("test"), Mapping) else {}
    trained = _NUMBER.validate_python(summary.get("train_seconds"))
    seconds = sum(epoch.seconds for epoch in epochs) if epochs else None
    return RunRecord(
        path=run.path,
        state=RUNNING if run.writer else FINISHED if summary else UNFINISHED,
        problem=run.writer,
        **texts | {"checkpoint": Path(texts.get("checkpoint", "")).name},
        members=config.get("ensemble"),
        epochs=None if epochs is None else len(epochs),
        planned=config.get("epochs"),
        **{key: test.get(key) for key in ("accuracy", "loss", "count")},
        val_accuracy=max((one.val.accuracy for one in epochs or () if one.val), default=None),
        seconds=seconds if trained is None else trained,
        config=config,
        environment=environment,
    )


class _GarbledError(ValueError):
    """A file that does not hold what it should; the message names it."""


def _table(path: Path, parse: Callable[[str], object]) -> dict[str, Any]:
    """The content of a TOML or JSON file as JSON can say it; empty if no such file.

    Raises:
        _GarbledError: it is not a table.
        OSError: it cannot be read.
    """
    if not is_there(path):
        return {}
    if not is_regular(path):
        raise _GarbledError(f"{path.name} is not a file")
    try:
        plain = json.dumps(parse(path.read_text(encoding="utf-8-sig")), default=str)
        found = json.loads(plain, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise _GarbledError(f"{path.name} is garbled: {error!s:.100}") from error
    if not isinstance(found, dict):
        raise _GarbledError(f"{path.name} holds a {type(found).__name__}, not a table")
    return found


SWEEPS = "sweeps"
"""The folder among the runs that holds the plans and results of sweeps."""

SORTS: Mapping[str, Callable[[RunRecord], Any]] = {
    "name": lambda run: _place(run.path),
    "accuracy": lambda run: -run.accuracy if run.accuracy is not None else math.inf,
    "seconds": lambda run: run.seconds if run.seconds is not None else math.inf,
    "date": lambda run: -run.written if run.written is not None else math.inf,
}
"""The best, the quickest and the newest come first; runs without the figure come last."""


def sort_runs(runs: Iterable[RunRecord], by: str) -> list[RunRecord]:
    """The runs in the order of one of :data:`SORTS`; equal ones keep their order."""
    return sorted(runs, key=SORTS[by])


def run_folder(target: Path, root: Path) -> Path:
    """The folder of the run that an argument means: a folder, its name under ``root``, or its number.

    Raises:
        CheckpointError: there is none, or the folders cannot be read.
    """
    try:
        folder = find_run(target, root)
    except OSError as error:
        raise CheckpointError(f"cannot read the run {target}: {error.strerror}", _NAMING) from error
    if folder is None:
        raise CheckpointError(f"no such run: {target}", f"{_NAMING} {known_runs(root)}")
    return folder


def open_run(target: Path, root: Path) -> RunRecord:
    """The run that an argument means: a folder, its name under ``root``, or its number.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    folder = run_folder(target, root)
    run = read_run(folder)
    if run.state in (UNREADABLE, FOREIGN):
        raise CheckpointError(
            f"{folder} cannot be read as a run: {run.problem}", "Name another run."
        )
    return run


LIMITS = ("max_steps", "max_time", "early_stopping", "target_accuracy")
"""Keys that stop a run before its last epoch; 0 is off."""


def way_on(path: Path, config: Figures) -> str:
    """The command that continues a run that has stopped early, without the limits it was given."""
    limits = [word for key in LIMITS if config.get(key) for word in (keys.flag(key), "0")]
    return command_on("train", "--resume", path, *limits, model=str(config.get("model", "")))


def command_on(*words: str | Path, model: str) -> str:
    """A command on a run or a checkpoint, which has to name a network of the user's own again."""
    named = ["--model", model] if ModelName(model).is_own else []
    return command_line(["mnist", *map(str, words), *named])


SHOWN_APART = frozenset(
    {
        *("dataset", "model", "epochs", "ensemble"),
        *("device", "precision", "threads", "workers", "cuda_graph", "checkpoint_every"),
    }
)
"""Keys that a list of runs shows in separate columns, or that do not change what is learnt."""


def distinctions(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What sets each run apart from the others of its recipe: ``{"seed": 3, "lr": 0.1}``.

    Runs of different recipes differ in many keys, for which the recipe's name stands. A value of
    None is the default. The seed comes first.
    """
    by_recipe: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        by_recipe.setdefault(run.recipe, []).append(number)
    found: list[dict[str, Any]] = [{} for _ in runs]
    for numbers in by_recipe.values():
        rows = differences([runs[number].config for number in numbers], SHOWN_APART)
        for key in sorted(rows, key=lambda key: (key != "seed", key != "lr")):
            for number, value in zip(numbers, rows[key], strict=True):
                if runs[number].config:
                    found[number][key] = value
    return found


def differences(tables: Sequence[Figures], leave_out: Iterable[str] = ()) -> dict[str, list[Any]]:
    """The keys with values that differ between tables, each with its value in every table.

    A key that a table lacks counts as None; an empty table counts as no difference. The keys keep
    the order of the tables.
    """
    keys = dict.fromkeys(key for table in tables for key in table if key not in set(leave_out))
    rows = {key: [table.get(key) for table in tables] for key in keys}
    filled = [number for number, table in enumerate(tables) if table]
    return {
        key: row
        for key, row in rows.items()
        if any(row[number] != row[filled[0]] for number in filled)
    }
