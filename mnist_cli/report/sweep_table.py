"""The table of a sweep: a row per setting, with mean and standard error over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from mnist_cli.report.console import note, percent, print_table, stdout
from mnist_cli.report.run_table import NOTHING, last_part, value_text
from mnist_cli.runs.listing import FINISHED
from mnist_cli.runs.sweep_results import Mean, Setting, SweepResult


def print_sweep(result: SweepResult) -> None:
    """Print the table, and which setting is the best."""
    heads = ("runs", "test accuracy", "test loss", "validation accuracy", "seconds")
    rows = [(*_values(one.values), *_figures(one)) for one in result.settings]
    print_table(
        (*(result.keys or ("sweep",)), *heads),
        rows if result.keys else [(result.sweep.name, *row) for row in rows],
    )
    if any(len(one.runs) > 1 for one in result.settings):
        note("± is the standard error of the mean over the seeds")
    if result.best is not None and result.keys:
        stdout(wide=True).print(
            f"best by validation accuracy: [bold]{escape(words(result.best.values))}[/]"
            f"{escape(as_good(result.equals))}"
        )


def as_good(others: Sequence[Setting]) -> str:
    """The settings that equal the best, in words; empty if there are none."""
    if not others:
        return ""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f" (equal: {words(others[0].values)}{more})"


def words(values: Mapping[str, Any]) -> str:
    """Values in words: ``lr 0.03, epochs 5``."""
    texts = zip(values, _values(values), strict=True)
    return ", ".join(f"{key} {text}" for key, text in texts)


def _values(values: Mapping[str, Any]) -> list[str]:
    return [short(value) for value in values.values()]


def short(value: object) -> str:
    """A value as text; a path of the user's own by its last part."""
    return value_text(last_part(value) if isinstance(value, str) else value)


def _figures(setting: Setting) -> tuple[str, ...]:
    finished = sum(run.state == FINISHED for run in setting.runs)
    count = len(setting.runs)
    return (
        str(count) if finished == count else f"{finished} of {count}",
        share(setting.mean("accuracy")),
        _plain(setting.mean("loss"), 4),
        share(setting.mean("val_accuracy")),
        _plain(setting.mean("seconds"), 1),
    )


def share(mean: Mean | None) -> str:
    """A mean of fractions as percentages: ``98.91% ± 0.05%``."""
    if mean is None:
        return NOTHING
    return percent(mean.mean) + ("" if mean.error is None else f" ± {percent(mean.error)}")


def _plain(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return NOTHING
    spread = "" if mean.error is None else f" ± {mean.error:,.{digits}f}"
    return f"{mean.mean:,.{digits}f}{spread}"
