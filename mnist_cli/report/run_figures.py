"""Pictures of how runs went: several runs' curves over each other, a run's layers over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mnist_cli.report.style import MARKERS, PALETTE, RATE, STYLE, save

if TYPE_CHECKING:
    from mnist_cli.training.state import EpochResult


def save_overlay(runs: Mapping[str, Sequence[EpochResult]], *paths: Path) -> None:
    """Loss, accuracy and learning rate of several runs: a colour and a marker a run, by name.

    Validation is drawn whole, training dashed.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.9), layout="constrained")
        figure.suptitle(f"Learning curves of {len(runs)} runs")
        loss, accuracy, rate = figure.subplots(1, 3)
        for place, history in enumerate(runs.values()):
            style = {
                "color": PALETTE[place % len(PALETTE)],
                "marker": MARKERS[place % len(MARKERS)],
                "ms": 3.5,
                "lw": 1.3,
            }
            epochs = [one.epoch for one in history]
            loss.plot(epochs, [one.loss for one in history], ls="--", **style)
            loss.plot(epochs, [one.val.loss if one.val else np.nan for one in history], **style)
            accuracy.plot(epochs, [one.accuracy for one in history], ls="--", **style)
            judged = [one.val.accuracy if one.val else np.nan for one in history]
            accuracy.plot(epochs, judged, **style)
            rate.plot(epochs, [one.lr for one in history], **style)
        loss.set(title="Loss", ylabel="cross-entropy (nats)")
        accuracy.set(title="Accuracy", ylabel="share classified correctly")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        rate.set(title="Learning rate", ylabel="at the end of the epoch")
        for axes in (loss, rate):
            axes.set_ylim(bottom=0)
        for axes in (loss, accuracy, rate):
            over_epochs(axes, max((len(history) for history in runs.values()), default=1))
        figure.legend(handles=_legend(runs), loc="outside lower center", ncols=4)
        save(figure, *paths)


def _legend(runs: Mapping[str, Sequence[EpochResult]]) -> list[Line2D]:
    names = [
        Line2D(
            [], [], color=PALETTE[place % len(PALETTE)], marker=MARKERS[place % len(MARKERS)],
            ms=4, label=name,
        )
        for place, name in enumerate(runs)
    ]  # fmt: skip
    kinds = [("-", "validation"), ("--", "training")]
    return names + [Line2D([], [], color=RATE, ls=ls, label=label) for ls, label in kinds]


def over_epochs(axes: Axes, count: int) -> None:
    """Whole epochs from 1 on; fixed limits: around a single one there would be no other number."""
    axes.set(xlabel="epoch", xlim=(0.5, max(count, 1) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
