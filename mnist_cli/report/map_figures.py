"""A figure of a test set as points in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes

from mnist_cli.report.figure_style import (
    MOST_NAMED,
    class_colours,
    long_names,
    new_figure,
    short_names,
)
from mnist_cli.report.themes import colours

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """Points (N, 2) with their labels (N,); ``up`` is empty if the axes have no unit."""

    title: str
    across: str
    up: str
    points: Floats
    labels: npt.NDArray[np.int64]


def save_map(panels: Sequence[Panel], classes: Sequence[str], *paths: Path, title: str) -> None:
    """Draw the points of each panel, coloured by class, whose names are ``classes``."""
    with new_figure(paths, (4.6 * len(panels), 5.0), title) as figure:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            _scatter(axes, panel, classes)
            axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
            if not panel.up:
                axes.set(xticklabels=[], yticklabels=[])
                axes.tick_params(length=0)
        handles, names = axes.get_legend_handles_labels()
        names = short_names(names)
        figure.legend(
            handles, names, title="class", loc="outside lower center",
            ncols=4 if long_names(names) else 10, markerscale=3.5,
            handletextpad=0.1, columnspacing=1.2,
        )  # fmt: skip


def _scatter(axes: Axes, panel: Panel, classes: Sequence[str]) -> None:
    points, labels = panel.points, panel.labels
    size = 9 if len(points) < 3000 else 4
    shades = class_colours(len(classes))
    for number, name in enumerate(classes):
        mine = points[labels == number]
        # Points as pixels, even in an SVG: ten thousand circles would be megabytes.
        axes.scatter(
            mine[:, 0], mine[:, 1], s=size, lw=0, alpha=0.6, color=shades[number],
            label=name, rasterized=True,
        )  # fmt: skip
    for number, name in enumerate(short_names(classes)):
        mine = points[labels == number]
        if len(mine) and len(classes) <= MOST_NAMED:
            # Colour is not alone: the name is written where its class is, if there is room.
            across, up = np.median(mine, axis=0).tolist()
            text = axes.text(
                across, up, name, ha="center", va="center", fontweight="bold",
                fontsize=9 if long_names(classes) else 13,
            )  # fmt: skip
            text.set_path_effects([patheffects.withStroke(linewidth=3, foreground=colours().paper)])
