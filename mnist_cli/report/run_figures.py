"""Figures of runs: curves of several runs, a run's layers over its epochs, the learning-rate search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mnist_cli.report.figure_style import (
    MARKERS,
    line_style,
    logarithmic,
    marker_size,
    measured_in_training,
    new_figure,
    ordered_colours,
)
from mnist_cli.report.figures import finish_curves, over_epochs, smoothing, training, validation
from mnist_cli.report.themes import colours
from mnist_cli.runs.results import EpochResult, Norms, StepRow

if TYPE_CHECKING:
    from mnist_cli.training.rate_finder import RateTrial

LEGEND_ROWS = 20
MOST_OF_NAME = 26


def save_overlay(
    runs: Mapping[str, Sequence[EpochResult]],
    rates: Mapping[str, Sequence[tuple[float, float]]],
    *paths: Path,
    steps: Mapping[str, Sequence[StepRow]] = MappingProxyType({}),
    augmented: bool | None = None,
) -> None:
    """Draw loss, accuracy and learning rate of several runs, each with its colour and marker.

    Validation lines are solid, training lines dashed with hollow markers.

    Args:
        runs: epochs by name of the run.
        rates: by name pairs of epochs done and the learning rate then.
        paths: files to write.
        steps: by name the figures every few steps, drawn as thin lines.
        augmented: whether all recipes augment images; None if some do.
    """
    columns = -(-(len(runs) + 3) // LEGEND_ROWS)
    with new_figure(paths, (10 + columns, 3.6), f"Learning curves of {len(runs)} runs") as figure:
        loss, accuracy, rate = figure.subplots(1, 3)
        for place, (name, history) in enumerate(runs.items()):
            style = {
                **line_style(place),
                "ms": marker_size(3.5, len(history)),
                "lw": 1.3,
            }
            hollow = style | {"ls": "--", "mfc": colours().paper}
            epochs = [one.epoch for one in history]
            for axes, measure in ((loss, "loss"), (accuracy, "accuracy")):
                if of_steps := steps.get(name):
                    done = [one.done for one in of_steps]
                    thin = {"lw": 0.7, "alpha": 0.4, "color": style["color"]}
                    axes.plot(done, training(of_steps, measure), **thin)
                axes.plot(epochs, training(history, measure), **hollow)
                axes.plot(epochs, validation(history, measure), **style)
            rate.plot(*zip(*rates[name], strict=True), **(style | {"marker": ""}))
        longest = max((len(history) for history in runs.values()), default=1)
        by_step = any(steps.values())
        finish_curves(loss, accuracy, rate, longest, steps=by_step)
        labels = smoothing([one for history in runs.values() for one in history])
        note = measured_in_training(augmented=augmented, **labels, steps=by_step)
        figure.supxlabel(note, fontsize=7, color=colours().quiet)
        handles = _legend(runs, steps=by_step)
        figure.legend(handles=handles, loc="outside right upper", fontsize=8, ncols=columns)


def _legend(runs: Mapping[str, Sequence[EpochResult]], *, steps: bool) -> list[Line2D]:
    names = [
        Line2D([], [], **line_style(place), ms=4, label=_short(name))
        for place, name in enumerate(runs)
    ]
    kinds = [("-", colours().quiet, "validation"), ("--", colours().paper, "training")]
    lines = [
        Line2D([], [], color=colours().quiet, ls=ls, marker="o", ms=4, mfc=inside, label=label)
        for ls, inside, label in kinds
    ]
    thin = Line2D([], [], color=colours().quiet, lw=0.7, alpha=0.4, label="training, a few steps")
    return [*names, *lines, *([thin] if steps else [])]


def _short(name: str) -> str:
    """A run's name for the legend; a long one loses its middle."""
    return name if len(name) <= MOST_OF_NAME else f"{name[:14]}…{name[-11:]}"


def save_norms(
    layers: Mapping[str, Sequence[tuple[int, Norms]]], healthy: float, *paths: Path, title: str
) -> None:
    """Draw gradients, and ratios of gradient and update to weight, over the epochs, a line per layer.

    Args:
        layers: in forward order; for each, epochs and its norms in their middle steps.
        healthy: a usual ratio of update to weight, drawn as a line.
        paths: files to write.
        title: of the figure.
    """
    figures: dict[str, Callable[[Norms], float]] = {
        "Gradient": lambda norms: norms.gradient,
        "Gradient to weight": lambda norms: norms.gradient_to_weight,
        "Update to weight": lambda norms: norms.update_to_weight,
    }
    with new_figure(paths, (10, 3.9), title) as figure:
        panels = figure.subplots(1, 3)
        epochs = max(epoch for points in layers.values() for epoch, _ in points)
        for axes, (name, figure_of) in zip(panels, figures.items(), strict=True):
            _norm_lines(axes, layers, figure_of)
            axes.set(title=name, ylabel="2-norm" if name == "Gradient" else "ratio of 2-norms")
            over_epochs(axes, epochs)
            axes.set_xlabel("epoch (measured at its middle step)")
        panels[2].axhline(healthy, color=colours().quiet, lw=1, ls=":")
        for axes in panels:
            logarithmic(axes, y=True)
        figure.legend(
            *panels[2].get_legend_handles_labels(), loc="outside right upper", fontsize=8,
            title="layer", ncols=-(-len(layers) // LEGEND_ROWS),
        )  # fmt: skip
        figure.supxlabel(
            f"dotted line: a typical update per step, {healthy:g} of the weights; far above it, the "
            "learning rate may be too high for the layer, far below, too low",
            fontsize=7,
            color=colours().quiet,
        )


def _norm_lines(
    axes: Axes,
    layers: Mapping[str, Sequence[tuple[int, Norms]]],
    figure_of: Callable[[Norms], float],
) -> None:
    """A value of every layer, coloured by its depth; zeros, which have no logarithm, are gaps."""
    shades = ordered_colours(len(layers))
    for depth, (name, points) in enumerate(layers.items()):
        epochs, values = [], []
        for epoch, norms in points:
            epochs.append(epoch)
            values.append(figure_of(norms) or np.nan)
        axes.plot(
            epochs,
            values,
            color=shades[depth],
            marker=MARKERS[depth % len(MARKERS)],
            ms=marker_size(4, len(points)),
            lw=1.2,
            label=name,
        )


def save_rate_trial(trial: RateTrial, configured: float, *paths: Path, title: str) -> None:
    """Draw the loss over the learning rate, with the proposed rate and the configured one."""
    with new_figure(paths, (6.4, 4), title) as figure:
        axes = figure.subplots()
        axes.plot(
            trial.rates, trial.losses, lw=0.8, color=colours().train, alpha=0.5, label="each step"
        )
        axes.plot(trial.rates, trial.smoothed, color=colours().train, label="smoothed")
        if trial.proposal is not None:
            axes.axvline(
                trial.proposal,
                color=colours().validation,
                label=f"steepest descent: {trial.proposal:.2g}",
            )
        axes.axvline(configured, color=colours().quiet, ls=":", label=f"configured: {configured:g}")
        axes.set(xlabel="learning rate", ylabel="training loss (nats), without label smoothing")
        axes.set_ylim(0, 1.5 * max(trial.smoothed[0], min(trial.smoothed)))
        logarithmic(axes, x=True)
        axes.legend()
