"""The figure of the gradient's flow: its norms from module to module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from mnist_cli.report.console import visible
from mnist_cli.report.figure_style import ASLANT, logarithmic, new_figure
from mnist_cli.report.themes import colours

if TYPE_CHECKING:
    from mnist_cli.autograd.flowing import FlowPoint

WIDEST = 24.0
"""The largest width in inches; if not all modules fit, only some are named."""

_BOTTOM, _TOP = 0.035, 0.965
"""Heights of the marks for values that a logarithmic axis cannot show, as shares of the axis."""


def save_gradient_flow(flow: Sequence[FlowPoint], *paths: Path, title: str) -> None:
    """Draw gradient norms by module in forward order, as points on a logarithmic axis.

    Marks at the ends of the axis show modules whose parameters get no gradient, norms of 0 and
    norms that are not finite.
    """
    points = [one for one in flow if one.module and (one.arriving is not None or one.silent)]
    arriving = [point.arriving for point in points]
    weights = [point.weights for point in points]
    width = min(max(5.0, 0.45 * len(points) + 2), WIDEST)
    with new_figure(paths, (width, 3.9)) as figure:
        axes = figure.subplots()
        _limit(axes, [*arriving, *weights])
        now = colours()
        _norms(axes, arriving, "o-", now.validation, "arriving from the loss")
        _norms(axes, weights, "D", now.train, "of its weights")
        pairs = list(zip(arriving, weights, strict=True))
        _at_ends(axes, _zero(pairs), "zero", "v", _BOTTOM)
        _at_ends(axes, _not_finite(pairs), "NaN or infinite", "^", _TOP)
        silent = [place for place, point in enumerate(points) if point.silent]
        _at_ends(axes, silent, "weights without a gradient", "x", _BOTTOM)
        _name(axes, points)
        axes.set(title=title, xlabel="module, in forward order", ylabel="2-norm of the gradient")
        if points:
            figure.legend(loc="outside lower center", ncols=5 if width > 8 else 2, fontsize=8)


def _limit(axes: Axes, norms: Sequence[float | None]) -> None:
    """Fit the axis to the positive, finite norms, with room for marks at both ends."""
    known = [norm for norm in norms if norm and math.isfinite(norm)] or [0.1, 1.0]
    low, high = math.log10(min(known)), math.log10(max(known))
    room = 0.12 * max(high - low, 1.0)
    axes.set_ylim(10 ** max(low - room, -300), 10 ** min(high + room, 300))
    logarithmic(axes, y=True)


def _norms(axes: Axes, norms: Sequence[float | None], form: str, colour: str, label: str) -> None:
    """Draw a series; values that the axis cannot show are gaps."""
    drawn = [norm if norm and math.isfinite(norm) else math.nan for norm in norms]
    if not all(map(math.isnan, drawn)):
        axes.plot(range(len(drawn)), drawn, form, ms=5, lw=1, color=colour, label=label)


def _zero(pairs: Sequence[tuple[float | None, ...]]) -> list[int]:
    return [place for place, pair in enumerate(pairs) if 0 in pair]


def _not_finite(pairs: Sequence[tuple[float | None, ...]]) -> list[int]:
    known = ([norm for norm in pair if norm is not None] for pair in pairs)
    return [place for place, pair in enumerate(known) if not all(map(math.isfinite, pair))]


def _at_ends(axes: Axes, places: Sequence[int], label: str, marker: str, height: float) -> None:
    """Marks at the lower or upper end of the axis."""
    if places:
        axes.plot(
            places,
            [height] * len(places),
            marker,
            ms=8,
            mew=2,
            color=colours().warning,
            label=label,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )


def _name(axes: Axes, points: Sequence[FlowPoint]) -> None:
    """Name the modules below the axis, those without a gradient in the colour of warnings."""
    every = math.ceil(len(points) / (WIDEST / 0.25))
    shown = range(0, len(points), max(every, 1))
    axes.set_xticks(shown, [visible(points[place].module) for place in shown], **ASLANT)
    axes.set_xlim(-0.5, max(len(points), 1) - 0.5)
    axes.grid(visible=False, axis="x")
    for label, place in zip(axes.get_xticklabels(), shown, strict=True):
        if points[place].silent:
            label.set_color(colours().warning)
