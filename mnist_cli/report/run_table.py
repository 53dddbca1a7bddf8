"""The tables of ``mnist runs``: a list of runs, and several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.config.names import ModelName, dataset_label, dataset_slug
from mnist_cli.report.console import note, print_fitting, print_table, stdout

if TYPE_CHECKING:
    from mnist_cli.runs.listing import RunRecord

NOTHING = "-"
TEXTUAL = ("run", "data set", "network", "device", "date")
EXPENDABLE = ("device", "seconds", "date")
LONGEST_VALUE = 32


def print_runs(runs: Sequence[RunRecord], root: Path) -> None:
    """A line per run; problems follow on stderr."""
    rows = [_row(run) for run in runs]
    print_fitting(rows, textual=TEXTUAL, expendable=EXPENDABLE, title=f"{root}/")
    for run in runs:
        if run.problem:
            note(f"{run.path}: {run.state}: {run.problem}")


def _row(run: RunRecord) -> dict[str, str]:
    return {
        "run": _short_name(run),
        "data set": dataset_label(run.dataset) or NOTHING,
        "network": _network(run) or NOTHING,
        "epochs": _epochs(run),
        "accuracy": _figure(run.accuracy, ".2%") if run.state == "finished" else run.state,
        "seconds": _figure(run.seconds, ",.1f"),
        "device": run.device or NOTHING,
        "date": date(run.written),
    }


def _short_name(run: RunRecord) -> str:
    """The number alone if the rest of the name repeats other columns."""
    number, _, rest = run.name.partition("-")
    columns = f"{dataset_slug(run.dataset)}-{ModelName(run.model).slug}"
    return number if number.isdecimal() and rest == columns else run.name


def _network(run: RunRecord) -> str:
    network = ModelName(run.model).label
    return f"{run.members} × {network}" if run.members > 1 else network


def _epochs(run: RunRecord) -> str:
    if run.epochs is None:
        return NOTHING
    early = run.planned is not None and run.planned != run.epochs
    return f"{run.epochs}/{run.planned}" if early else str(run.epochs)


def _figure(value: float | None, style: str) -> str:
    return NOTHING if value is None else f"{value:{style}}"


def date(moment: float | None) -> str:
    """Seconds since 1970 as local date and time."""
    if moment is None:
        return NOTHING
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def print_comparison(
    runs: Sequence[RunRecord],
    configuration: Mapping[str, Sequence[Any]],
    environment: Mapping[str, Sequence[Any]],
) -> None:
    """The differences in configuration and environment, then every run's result."""
    names = _distinct_names(runs)
    for title, rows in (("configuration", configuration), ("environment", environment)):
        if rows:
            print_table((title, *names), [(key, *_values(row)) for key, row in rows.items()])
        else:
            stdout(wide=True).print(f"[bold]{title}[/]: no difference")
    print_table(("result", *names), [(key, *row) for key, row in _results(runs).items()])
    for name, run in zip(names, runs, strict=True):
        if missing := _missing(run):
            note(f"{name} has no {', no '.join(missing)}")


def _missing(run: RunRecord) -> list[str]:
    """The parts that a run lacks, which could not be compared."""
    parts = {
        "configuration": run.config,
        "environment": run.environment,
        "finished epoch": run.epochs,
        "test result": run.accuracy is not None,
    }
    return [part for part, there in parts.items() if not there]


def _distinct_names(runs: Sequence[RunRecord]) -> list[str]:
    """The folders' names, or whole paths if two folders share a name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _results(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    rows = {
        "state": [run.state for run in runs],
        "epochs": [_epochs(run) for run in runs],
        "test accuracy": [_figure(run.accuracy, ".2%") for run in runs],
        "correct test images": [_right(run) for run in runs],
        "test loss (nats)": [_figure(run.loss, ".4f") for run in runs],
        "best validation accuracy": [_figure(run.val_accuracy, ".2%") for run in runs],
        "seconds of training": [_figure(run.seconds, ",.1f") for run in runs],
        "last written": [date(run.written) for run in runs],
    }
    return {key: row for key, row in rows.items() if set(row) != {NOTHING}}


def _right(run: RunRecord) -> str:
    if run.accuracy is None or run.count is None:
        return NOTHING
    return f"{round(run.accuracy * run.count):,} of {run.count:,}"


def _values(row: Sequence[object]) -> list[str]:
    """A row as text; paths of the user's own by their last part, if that distinguishes them."""
    short = [_short(value) if isinstance(value, str) else value for value in row]
    apart = len(set(map(str, short))) == len(set(map(str, row)))
    return [_value(value) for value in (short if apart else row)]


def _short(text: str) -> str:
    """A path of the user's own by its last part; any other text unchanged."""
    return ModelName(text).label if ModelName(text).is_own else dataset_label(text)


def _value(value: object) -> str:
    """A value roughly as in TOML; a long one, such as a checksum, is cut, a path at its front."""
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, list):
        return _value("; ".join(map(str, value)))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) <= LONGEST_VALUE:
        return text
    kept = LONGEST_VALUE - 1
    return f"{text[:kept]}…" if _short(text) == text else f"…{text[-kept:]}"
