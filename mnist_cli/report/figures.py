"""Figures of learning curves, evaluations and images, drawn with matplotlib.

They use matplotlib's objects rather than pyplot, which has global state and opens windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from mnist_cli.report.figure_style import (
    ASLANT,
    MOST_LETTERS,
    colour_map,
    long_names,
    marker_size,
    measured_in_training,
    new_figure,
    shading,
    short_names,
)
from mnist_cli.report.themes import colours

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult, StepRow
    from mnist_cli.training.scoring import Evaluation, Mistake


LARGEST = 14.0
"""Inches of the side of a confusion matrix, at most."""

OVER = 0.03
"""Share of an axis beyond its ends, for half of a marker."""

MOST_COUNTED = 30
"""Up to this number of classes, counts are written into the matrix."""


def save_learning_curves(
    history: Sequence[EpochResult],
    *paths: Path,
    rates: Sequence[tuple[float, float]],
    title: str,
    steps: Sequence[StepRow] = (),
    augmented: bool | None = None,
) -> None:
    """Draw loss, accuracy and learning rate over one run, with the training figures of its steps.

    Args:
        history: the epochs.
        paths: files to write.
        rates: pairs of epochs done and the learning rate then.
        title: of the figure.
        steps: the figures every few steps; of an older program's run there are none.
        augmented: whether the recipe augments images; None if that is not known.
    """
    with new_figure(paths, (10, 3.2), title) as figure:
        loss, accuracy, rate = figure.subplots(1, 3)
        places, labels = _places(history, steps), smoothing(history)
        for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
            if steps:
                axes.plot(
                    [s.done for s in steps],
                    training(steps, name),
                    lw=0.8,
                    color=colours().train,
                    alpha=0.5,
                    label="training, a few steps",
                )
            _curve(axes, places, training(history, name), validation(history, name))
        if labels["plain"] and labels["smoothed"]:
            trained = [r.loss for r in history]
            size = marker_size(3, len(places))
            loss.plot(
                places,
                trained,
                "o:",
                ms=size,
                mfc=colours().paper,
                color=colours().train,
                label="training, with label smoothing",
            )
        for axes in (loss, accuracy):
            axes.legend(fontsize=8)
        rate.plot(*zip(*rates, strict=True), color=colours().quiet)
        finish_curves(loss, accuracy, rate, len(history), steps=bool(steps))
        note = measured_in_training(augmented=augmented, **labels, steps=bool(steps))
        figure.supxlabel(note, fontsize=7, color=colours().quiet)


def training(results: Sequence[EpochResult | StepRow], name: str) -> list[float]:
    """The training's "loss" or "accuracy"; the loss is without label smoothing if that is known."""
    if name == "loss":
        return [one.loss if one.plain_loss is None else one.plain_loss for one in results]
    return [getattr(one, name) for one in results]


def validation(history: Sequence[EpochResult], name: str) -> list[float]:
    """The "loss" or "accuracy" on the validation set, NaN without one."""
    return [getattr(one.val, name) if one.val else np.nan for one in history]


def smoothing(results: Sequence[EpochResult]) -> dict[str, bool]:
    """Whether all training losses leave label smoothing out, and whether some recipe smooths."""
    plain = all(one.plain_loss is not None for one in results)
    smoothed = any(one.plain_loss != one.loss for one in results)
    return {"plain": plain, "smoothed": smoothed}


def _places(history: Sequence[EpochResult], steps: Sequence[StepRow]) -> list[float]:
    """Where epochs end; the last one where its steps end, if a limit has stopped the run."""
    ends = {row.epoch: row.done for row in steps}
    return [ends.get(one.epoch, one.epoch) if one is history[-1] else one.epoch for one in history]


def finish_curves(loss: Axes, accuracy: Axes, rate: Axes, epochs: int, *, steps: bool) -> None:
    """Set titles, axes and limits of learning curves.

    Args:
        loss: the axes of the loss.
        accuracy: the accuracy's.
        rate: the learning rate's.
        epochs: of the longest run.
        steps: whether loss and accuracy are drawn by steps too.
    """
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy", ylabel="share classified correctly")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    rate.set(title="Learning rate", ylabel="learning rate")
    if epochs == 1:  # its markers are large
        loss.margins(y=0.2)
        accuracy.margins(y=0.2)
    low, high = accuracy.get_ylim()
    accuracy.set_ylim(max(low, -OVER), min(high, 1 + OVER))
    for axes in (loss, rate):
        axes.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        over_epochs(axes, epochs)
    rate.set(xlabel="epochs done", xlim=(0, max(epochs, 1)))
    for axes in (loss, accuracy, rate) if steps else (rate,):
        if axes is not rate:
            axes.set_xlim(0, max(epochs, 1) * (1 + OVER))
        if epochs <= 1:  # whole epochs would be its two ends alone
            axes.xaxis.set_major_locator(MultipleLocator(0.25))


def over_epochs(axes: Axes, count: int) -> None:
    """Whole epochs from 1 on; the limits are fixed, since a single epoch has no range."""
    axes.set(xlabel="epoch", xlim=(0.5, max(count, 1) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _curve(
    axes: Axes, places: Sequence[float], training: Sequence[float], validation: Sequence[float]
) -> None:
    size = marker_size(3, len(places))
    axes.plot(places, training, "o-", ms=size, color=colours().train, label="training")
    if not np.isnan(validation).all():
        axes.plot(places, validation, "s-", ms=size, color=colours().validation, label="validation")


def save_confusion(evaluation: Evaluation, classes: Sequence[str], *paths: Path, name: str) -> None:
    """Draw the confusion matrix; colours show only mistakes, which the diagonal would outshine.

    ``name`` is the run's, for the title.
    """
    counts = np.array(evaluation.confusion)
    mistakes = counts.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    side = min(max(5.6, 0.4 * len(classes) + 1.6), LARGEST)
    with new_figure(paths, (side + 0.8, side), images=True) as figure:
        axes, now = figure.subplots(), colours()
        image = axes.imshow(
            mistakes, cmap=colour_map(now.mistakes), vmin=0, vmax=max(np.nanmax(mistakes), 1)
        )
        for (row, column), count in np.ndenumerate(counts if len(counts) <= MOST_COUNTED else []):
            strong = row != column and count > 0.65 * np.nanmax(mistakes)
            axes.text(
                column,
                row,
                f"{count:,}" if count else "·",
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold" if row == column else "normal",
                color=now.paper if strong else now.ink if count else now.faint,
            )
        names = short_names(classes)
        axes.set_xticks(range(len(names)), names, **(ASLANT if long_names(names) else {}))
        axes.set_yticks(range(len(names)), names)
        accuracy = evaluation.score.accuracy
        axes.set(
            title=f"Confusion matrix of {name}\n"
            f"accuracy {accuracy:.2%} of {evaluation.score.count:,} images",
            xlabel="predicted class",
            ylabel="true class",
        )
        whole = MaxNLocator(integer=True)
        figure.colorbar(image, label="mistakes (images)", shrink=0.8, ticks=whole)


def save_mistakes(
    mistakes: Sequence[Mistake],
    images: npt.NDArray[np.uint8],
    classes: Sequence[str],
    *paths: Path,
    name: str,
    own: bool = False,
) -> None:
    """Draw the most confident mistakes.

    Args:
        mistakes: the most confident first.
        images: (N, H, W), in the same order.
        classes: their names.
        paths: files to write.
        name: of the run, for the title.
        own: whether the images are the user's own.
    """
    classes = short_names(classes)
    comma, taken, height = ", ", "predicted ", 1.5
    if long_names(classes):
        comma, height = ",\n", 1.65
    if max(map(len, classes)) > MOST_LETTERS // 2:
        taken, height = "predicted\n", 1.8
    titles = [
        f"{classes[one.label]}{comma}{taken}{classes[one.predicted]}\n"
        f"{one.confidence:.0%} · #{one.index}"
        for one in mistakes
    ]
    title = (
        f"The {len(mistakes)} most confident mistakes of {name} (confidence · number of the image)"
    )
    if not mistakes:
        title = f"No mistakes of {name}"
    _save_grid(images, titles, *paths, title=title, own=own, columns=8, size=(1.15, height))


def sample_titles(classes: Sequence[str], numbers: Iterable[tuple[int, int]]) -> list[str]:
    """The title of each image from its index and its class; long names have a line of their own."""
    names = short_names(classes)
    between = "\n" if long_names(names) else " · "
    return [f"{names[label]}{between}#{index}" for index, label in numbers]


def save_samples(
    images: npt.NDArray[np.uint8],
    titles: Sequence[str],
    *paths: Path,
    title: str,
    own: bool = False,
) -> None:
    """Draw a grid of images.

    Args:
        images: (N, H, W).
        titles: of the images.
        paths: files to write.
        title: of the figure.
        own: whether the images are the user's own.
    """
    columns = min(10, max(1, len(images)))
    height = (0.37 if any("\n" in one for one in titles) else 0.25) + 0.9 * images.shape[
        1
    ] / images.shape[2]
    _save_grid(images, titles, *paths, title=title, own=own, columns=columns, size=(0.9, height))


def _save_grid(
    images: npt.NDArray[np.uint8],
    titles: Sequence[str],
    *paths: Path,
    title: str,
    own: bool,
    columns: int,
    size: tuple[float, float],
) -> None:
    """Draw images in rows; ``size`` is the width and the height of each, in inches."""
    rows = max(1, -(-len(images) // columns))
    figsize = (columns * size[0], rows * size[1] + 0.45)
    with new_figure(paths, figsize, title, images=True) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, text in zip(grid.flat, images, titles, strict=False):
            axes.imshow(image, cmap=shading(own), vmin=0, vmax=255)
            axes.set_title(text, fontsize=6.5, fontweight="normal")
