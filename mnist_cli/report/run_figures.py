"""Figures of runs: the curves of several runs in one figure, and a run's layers over its epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mnist_cli.report.figure_style import (
    AS_TRAINED,
    DEEPEST,
    DEPTH,
    MARKERS,
    PALETTE,
    RATE,
    WITHOUT_SMOOTHING,
    logarithmic,
    marker_size,
    new_figure,
)
from mnist_cli.report.figures import finish_curves, over_epochs, training_loss
from mnist_cli.runs.results import EpochResult, Norms


def save_overlay(
    runs: Mapping[str, Sequence[EpochResult]],
    rates: Mapping[str, Sequence[tuple[float, float]]],
    *paths: Path,
) -> None:
    """Draw loss, accuracy and learning rate of several runs, by name, each with its colour and marker.

    Validation lines are solid, training lines dashed with hollow markers. ``rates`` are pairs of
    epochs done and the learning rate then.
    """
    with new_figure(paths, (10, 3.9), f"Learning curves of {len(runs)} runs") as figure:
        loss, accuracy, rate = figure.subplots(1, 3)
        for place, (name, history) in enumerate(runs.items()):
            style = {
                "color": PALETTE[place % len(PALETTE)],
                "marker": MARKERS[place % len(MARKERS)],
                "ms": marker_size(3.5, len(history)),
                "lw": 1.3,
            }
            training = style | {"ls": "--", "mfc": "white"}
            epochs = [one.epoch for one in history]
            loss.plot(epochs, [training_loss(one) for one in history], **training)
            loss.plot(epochs, [one.val.loss if one.val else np.nan for one in history], **style)
            accuracy.plot(epochs, [one.accuracy for one in history], **training)
            judged = [one.val.accuracy if one.val else np.nan for one in history]
            accuracy.plot(epochs, judged, **style)
            rate.plot(*zip(*rates[name], strict=True), **(style | {"marker": ""}))
        longest = max((len(history) for history in runs.values()), default=1)
        finish_curves(loss, accuracy, rate, longest)
        figure.legend(
            handles=_legend(runs), loc="outside lower center", ncols=4,
            title=_note(runs), title_fontsize=7,
        )  # fmt: skip


def _note(runs: Mapping[str, Sequence[EpochResult]]) -> str:
    """What the training figures hold; label smoothing too if a run did not record the plain loss."""
    results = [one for history in runs.values() for one in history]
    return AS_TRAINED if any(one.plain_loss is None for one in results) else WITHOUT_SMOOTHING


def _legend(runs: Mapping[str, Sequence[EpochResult]]) -> list[Line2D]:
    names = [
        Line2D(
            [], [], color=PALETTE[place % len(PALETTE)], marker=MARKERS[place % len(MARKERS)],
            ms=4, label=name,
        )
        for place, name in enumerate(runs)
    ]  # fmt: skip
    kinds = [("-", RATE, "validation"), ("--", "white", "training")]
    return names + [
        Line2D([], [], color=RATE, ls=ls, marker="o", ms=4, mfc=inside, label=label)
        for ls, inside, label in kinds
    ]


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
            axes.set_xlabel("epoch, its middle step")
        panels[2].axhline(healthy, color=RATE, lw=1, ls=":", label=f"{healthy:g}: rule of thumb")
        for axes in panels:
            logarithmic(axes, y=True)
        handles, names = panels[2].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 7))


def _norm_lines(
    axes: Axes,
    layers: Mapping[str, Sequence[tuple[int, Norms]]],
    figure_of: Callable[[Norms], float],
) -> None:
    """A value of every layer, coloured by its depth; zeros, which have no logarithm, are gaps."""
    for depth, (name, points) in enumerate(layers.items()):
        epochs, values = [], []
        for epoch, norms in points:
            epochs.append(epoch)
            values.append(figure_of(norms) or np.nan)
        axes.plot(
            epochs,
            values,
            color=colormaps[DEPTH](DEEPEST * depth / max(len(layers) - 1, 1)),
            marker=MARKERS[depth % len(MARKERS)],
            ms=marker_size(4, len(points)),
            lw=1.2,
            label=name,
        )
