"""The results of ``mnist bench`` as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, PercentFormatter

from mnist_cli.benchmark.inference import InferenceResult
from mnist_cli.benchmark.measure import Measurement
from mnist_cli.benchmark.recipes import RecipeResult, pareto
from mnist_cli.benchmark.scaling import Growth, ScalingResult
from mnist_cli.benchmark.spread import Spread
from mnist_cli.report.bench_tables import FACTOR_NAMES, Result
from mnist_cli.report.figure_style import line_style, logarithmic, new_figure
from mnist_cli.report.themes import colours


@singledispatch
def save_result(result: Result, path: Path) -> None:
    """Draw a benchmark's result to a file."""
    raise TypeError(type(result))


@save_result.register
def _(result: RecipeResult, path: Path) -> None:
    """Test accuracy against seconds of training: a line per run, a colour and marker per recipe.

    Without a target, the test error of whole trainings instead.
    """
    if not result.target:
        _save_errors(result, path)
        return
    runs: dict[str, list[Measurement]] = {}
    for one in result.runs:
        runs.setdefault(one.recipe, []).append(one)
    title = "Test accuracy against seconds of training"
    with new_figure([path], (7, 4.2), title) as figure:
        axes = figure.subplots()
        for position, (name, of_recipe) in enumerate(runs.items()):
            for number, one in enumerate(of_recipe):
                seconds, accuracies = zip(*one.epochs, strict=True)
                axes.plot(
                    seconds,
                    accuracies,
                    **line_style(position),
                    ms=5,
                    lw=1,
                    alpha=0.75,
                    label=f"{name} ({len(of_recipe)})" if number == 0 else None,
                )
        axes.axhline(result.target, color=colours().quiet, lw=1, ls="--", zorder=0)
        axes.annotate(
            f"{result.target:.1%}", (1, result.target), xycoords=("axes fraction", "data"), xytext=(-2, 3),
            textcoords="offset points", ha="right", color=colours().quiet, fontsize=8,
        )  # fmt: skip
        logarithmic(axes, x=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="training (seconds)", ylabel="test accuracy at the end of each epoch")
        axes.legend(title="recipe (runs)", loc="lower right")
        _sign(figure, result.machine)


def _save_errors(result: RecipeResult, path: Path) -> None:
    """Test error against seconds of training: a point per recipe, and the line of the best ones.

    Thin lines are the runs' epochs.
    """
    summaries = {one.name: one for one in result.summaries}
    title = "Test error against seconds of training"
    with new_figure([path], (7, 4.2), title) as figure:
        axes = figure.subplots()
        for position, one in enumerate(summaries.values()):
            style = line_style(position)
            for run in result.runs:
                if run.recipe == one.name and len(run.epochs) > 1:
                    seconds, accuracies = zip(*run.epochs, strict=True)
                    errors = [1 - accuracy for accuracy in accuracies]
                    axes.plot(seconds, errors, color=style["color"], lw=0.8, alpha=0.35, zorder=1)
            time = one.train_seconds
            axes.errorbar(
                [time.median],
                [1 - one.accuracy_mean],
                xerr=([time.median - time.low], [time.high - time.median]),
                yerr=[one.accuracy_error or 0.0],
                **style,
                ls="",
                ms=7,
                lw=1,
                capsize=2,
                zorder=3,
                label=f"{one.name} ({one.runs}): {one.accuracy_mean:.2%}",
            )
        best = [summaries[name] for name in pareto(result.summaries)]
        line = [(one.train_seconds.median, 1 - one.accuracy_mean) for one in best]
        if len(summaries) > 1:
            axes.plot(
                *zip(*line, strict=True),
                "--",
                lw=1,
                color=colours().quiet,
                zorder=2,
                label="Pareto line: none is faster and better",
            )
        logarithmic(axes, x=True, y=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="training (seconds)", ylabel="test error")
        axes.legend(title="recipe (runs): accuracy")
        _sign(figure, result.machine)


@save_result.register
def _(result: InferenceResult, path: Path) -> None:
    """Images per second against the batch size: a line per recipe, lowest to highest as bars."""
    summaries = result.summaries
    title = "Images evaluated per second, by batch size"
    with new_figure([path], (6, 4), title) as figure:
        axes = figure.subplots()
        for position, one in enumerate(summaries):
            label = f"{one.recipe}: {one.details['model']}, {one.details['precision']}"
            _spreads(
                axes,
                [batch.batch_size for batch in one.batches],
                [batch.images_per_second for batch in one.batches],
                label=label,
                **line_style(position),
            )
        logarithmic(axes, x=True, y=True)
        sizes = {batch.batch_size for one in summaries for batch in one.batches}
        axes.xaxis.set_major_locator(FixedLocator(sorted(sizes)))
        axes.set(xlabel="batch size (images)", ylabel="images per second")
        axes.legend()
        _sign(figure, result.machine)


@save_result.register
def _(result: ScalingResult, path: Path) -> None:
    """A panel per factor: seconds of training above, peak memory below."""
    growths = result.growths
    size = (2.9 * len(growths) + 0.6, 4.6)
    with new_figure([path], size, f"Cost of training: {result.recipe}") as figure:
        grid = figure.subplots(2, len(growths), sharex="col", squeeze=False, height_ratios=(3, 2))
        for growth, seconds, memory in zip(growths, *grid, strict=True):
            _draw_seconds(seconds, growth)
            _draw_memory(memory, growth)
        grid[0, 0].set_ylabel("training (seconds)")
        grid[1, 0].set_ylabel("peak memory (MiB)")
        _sign(figure, result.machine)


def _draw_seconds(axes: Axes, growth: Growth) -> None:
    points = growth.points
    values = [point.value for point in points]
    name = FACTOR_NAMES[growth.factor]
    axes.set_title(name)
    if growth.law is not None:
        law = [growth.law(value) for value in values]
        how = "least squares" if len(points) > 2 else "through two points"
        power = f"{how}:\npower {growth.law.exponent:.2f}"
        axes.plot(values, law, "--", lw=1, color=colours().quiet, label=power, zorder=1)
        axes.legend()
    _spreads(
        axes, values, [point.train_seconds for point in points], color=colours().train, fmt="o-"
    )
    logarithmic(axes, x=True, y=True)
    if len(values) < 6:  # as many as fit below a small panel
        axes.xaxis.set_major_locator(FixedLocator(values))


def _draw_memory(axes: Axes, growth: Growth) -> None:
    points = growth.points
    values = [point.value for point in points]
    lines = {
        "process": [point.peak_bytes / 2**20 for point in points],
        "GPU": [point.peak_device_bytes / 2**20 for point in points],
    }
    for (name, mebibytes), colour in zip(
        lines.items(), (colours().train, colours().validation), strict=True
    ):
        if any(mebibytes):
            axes.plot(values, mebibytes, "s-", ms=4, lw=1, color=colour, label=name)
    if any(lines["GPU"]):
        axes.legend()
    axes.set_ylim(0, 1.15 * max(*lines["process"], *lines["GPU"], 1))
    axes.set_xlabel(FACTOR_NAMES[growth.factor])


def _spreads(axes: Axes, values: Sequence[float], spreads: Sequence[Spread], **style: Any) -> None:
    """Medians as a line, lowest to highest as bars."""
    middle = [one.median for one in spreads]
    below = [one.median - one.low for one in spreads]
    above = [one.high - one.median for one in spreads]
    axes.errorbar(values, middle, yerr=(below, above), ms=4, lw=1, capsize=2, **style)


def _sign(figure: Figure, machine: Mapping[str, Any]) -> None:
    """Write the machine and the date at the foot."""
    figure.supxlabel(
        f"{machine['machine']}, cores {machine['cores']}, threads {machine['threads']}, "
        f"{machine['precision']}, {machine['dataset']}, torch {machine['torch']}, "
        f"{machine['date']}",
        fontsize=7,
        color=colours().quiet,
    )
