"""The tables of ``mnist runs``: a list of runs, and several runs side by side."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mnist_cli.config.names import ModelName, dataset_label, dataset_slug
from mnist_cli.report.console import note, print_facts, print_fitting, print_table, stdout
from mnist_cli.runs.listing import RunRecord, distinctions

NOTHING = "-"
TEXTUAL = ("run", "data set", "network", "recipe", "differs in", "device", "date")
EXPENDABLE = ("device", "seconds", "date")
LAST = ("recipe", "epochs", "data set")
LONGEST_VALUE = 32
MOST_DIFFERENCES = 4
"""Keys in which runs differ, as the list shows them; `mnist runs compare` shows all."""
MANY_RUNS = 4
"""From this number of runs on, a comparison has a row per run."""


def print_runs(runs: Sequence[RunRecord], root: Path) -> None:
    """A line per run; problems follow on stderr."""
    rows = [_row(run, apart) for run, apart in zip(runs, distinctions(runs), strict=True)]
    for column in ("recipe", "differs in"):
        if len({row[column] for row, run in zip(rows, runs, strict=True) if run.config}) < 2:
            rows = [{name: text for name, text in row.items() if name != column} for row in rows]
    print_fitting(rows, textual=TEXTUAL, expendable=EXPENDABLE, last=LAST, title=f"{root}/")
    for run in runs:
        if run.problem:
            note(f"{run.path}: {run.state}: {run.problem}")


def _distinctions(values: Mapping[str, Any]) -> str:
    """What sets a run apart: ``seed 3, lr 0.1``."""
    shown = [
        f"{key} {'default' if value is None else value_text(value)}"
        for key, value in values.items()
    ]
    more = [f"and {len(shown) - MOST_DIFFERENCES} more"] if len(shown) > MOST_DIFFERENCES else []
    return ", ".join(shown[:MOST_DIFFERENCES] + more) or NOTHING


def _row(run: RunRecord, apart: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run": _short_name(run),
        "data set": dataset_label(run.dataset) or NOTHING,
        "network": _network(run) or NOTHING,
        "recipe": run.recipe or NOTHING,
        "differs in": _distinctions(apart),
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
            _print_compared(title, names, {key: _values(row) for key, row in rows.items()})
        else:
            stdout(wide=True).print(f"[bold]{title}[/]: no difference")
    _print_compared("result", names, _results(runs))
    for name, run in zip(names, runs, strict=True):
        if missing := _missing(run):
            note(f"{name} has no {', no '.join(missing)}")


def _print_compared(title: str, names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """A column per run, or a row per run if there are many: a terminal has more rows."""
    if len(names) < MANY_RUNS:
        print_table((title, *names), [(key, *row) for key, row in rows.items()])
        return
    turned = [(name, *column) for name, *column in zip(names, *rows.values(), strict=True)]
    print_table((title, *rows), turned)


def print_run(run: RunRecord, files: Mapping[str, int]) -> None:
    """Print a run's result, configuration, environment and ``files``, each with its size in bytes."""
    result = {key: row[0] for key, row in _results([run]).items()}
    known = {"data set": run.dataset, "network": _network(run), "recipe": run.recipe}
    print_facts(f"{run.path}", {**{key: text for key, text in known.items() if text}, **result})
    for title, table in (("configuration", run.config), ("environment", run.environment)):
        if known := {key: _shown(value) for key, value in table.items() if value not in ("", [])}:
            print_facts(title, known)
    print_facts("files", {name: f"{size:,} bytes" for name, size in files.items()})
    if run.problem:
        note(f"{run.path}: {run.state}: {run.problem}")


def _shown(value: object) -> str:
    """A value in full; a list in one line."""
    return shlex.join(map(str, value)) if isinstance(value, list) else str(value)


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
        "stopped early": [run.stop_reason or NOTHING for run in runs],
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
    short = [last_part(value) if isinstance(value, str) else value for value in row]
    apart = len(set(map(str, short))) == len(set(map(str, row)))
    return [value_text(value) for value in (short if apart else row)]


def last_part(text: str) -> str:
    """A path of the user's own by its last part; any other text unchanged."""
    return ModelName(text).label if ModelName(text).is_own else dataset_label(text)


def value_text(value: object) -> str:
    """A value roughly as in TOML; a long one, such as a checksum, is cut, a path at its front."""
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, list):
        return value_text("; ".join(map(str, value)))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) <= LONGEST_VALUE:
        return text
    kept = LONGEST_VALUE - 1
    return f"{text[:kept]}…" if last_part(text) == text else f"…{text[-kept:]}"
