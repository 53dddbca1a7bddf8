"""The picture of a sweep: test accuracy against the first swept key, a line for each other setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from mnist_cli.report.figure_style import ASLANT, line_style, new_figure
from mnist_cli.report.sweep_table import short, words
from mnist_cli.runs.sweep_results import Setting, SweepResult

MOST_LINES = 12
"""More lines than this have no legend: the table names them."""


def save_sweep(result: SweepResult, path: Path) -> None:
    """Draw each run as a dot, and mean and standard error over the seeds as a bar.

    Raises:
        UsageError: matplotlib has no format of that suffix.
        OutputError: the file cannot be written.
    """
    key = result.keys[0] if result.keys else ""
    lines: dict[str, list[Setting]] = {}
    for setting in result.settings:
        rest = {name: value for name, value in setting.values.items() if name != key}
        lines.setdefault(words(rest), []).append(setting)
    title = f"{result.sweep.name}: test accuracy"
    if missing := len(result.runs) - sum(run.figure("accuracy") is not None for run in result.runs):
        title += f" ({missing} of {len(result.runs)} runs have none)"
    with new_figure([path], (7, 4.2), title) as figure:
        axes = figure.subplots()
        places = _places(axes, key, result)
        join = "-" if all(map(_is_number, places)) else ""  # between words there is nothing
        for number, (label, settings) in enumerate(lines.items()):
            _draw(axes, places, settings, label, number, join)
        axes.set(xlabel=key or "", ylabel="test accuracy: each run, mean ± standard error")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if 1 < len(lines) <= MOST_LINES:
            axes.legend(fontsize=8)


def _places(axes: Axes, key: str, result: SweepResult) -> dict[object, float]:
    """Where each value of the first key is on the x axis: numbers at themselves, words in order."""
    values = list(dict.fromkeys(one.values.get(key) for one in result.settings))
    numeric = [value for value in values if _is_number(value)]
    if len(numeric) < len(values) or len(values) < 2:
        axes.xaxis.set_major_locator(FixedLocator(range(len(values))))
        axes.set_xticks(range(len(values)), [short(v) if key else "" for v in values], **ASLANT)
        axes.set_xlim(-0.5, len(values) - 0.5)
        return {value: float(place) for place, value in enumerate(values)}
    if min(numeric) > 0 and max(numeric) / min(numeric) >= 5:
        axes.set_xscale("log")
    axes.set_xticks(numeric, [f"{value:g}" for value in numeric])
    axes.xaxis.set_minor_locator(NullLocator())
    return {value: float(value) for value in numeric}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _draw(
    axes: Axes,
    places: dict[object, float],
    settings: Sequence[Setting],
    label: str,
    number: int,
    join: str,
) -> None:
    """One line: the runs as pale dots, the means with their standard errors.

    Args:
        axes: where to draw.
        places: position on the x axis by value of the first key.
        settings: the line's settings.
        label: of the line.
        number: of the line, for its colour and marker.
        join: style of the line between the means; empty is none.
    """
    style = line_style(number)
    points = []
    for setting in settings:
        place = places[next(iter(setting.values.values()), None)]
        mean = setting.mean("accuracy")
        figures = [run.figure("accuracy") for run in setting.runs]
        dots = [figure for figure in figures if figure is not None]
        axes.plot([place] * len(dots), dots, ls="", **style, ms=4, alpha=0.4)
        if mean is not None:
            points.append((place, mean.mean, mean.error or 0.0))
    if points:
        x, y, error = zip(*sorted(points), strict=True)
        axes.errorbar(
            x, y, error, capsize=3, label=label, **style, ms=5, lw=1, ls=join, elinewidth=1
        )
