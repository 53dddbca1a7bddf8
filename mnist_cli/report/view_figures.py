"""Figures of what a network has learned and computes: filters, activations, saliency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mnist_cli.insight.layers import Layer
from mnist_cli.insight.pixels import Maximised, Saliency
from mnist_cli.report.figure_style import (
    ASLANT,
    MOST_NAMED,
    colour_map,
    long_names,
    new_figure,
    shading,
    short_names,
)
from mnist_cli.report.themes import colours

Floats = npt.NDArray[np.float32]

LIKELIEST = 5
"""Number of the likeliest classes that are named if there are more than :data:`MOST_NAMED`."""

ROW = 16
"""Maximum number of channels of a layer that are drawn."""

OWN_SCALES = (
    "colour is a unit's activation: {zero} is 0, and each layer has its own scale; "
    "numbers below maps are their channels"
)
"""The note below the figure of activations."""

MOST_KERNELS = 16
"""Maximum number of input and of output channels of the second layer that are drawn."""


def mosaic(tiles: Floats, columns: int) -> Floats:
    """Tiles (N, H, W) as one sheet, in rows of ``columns``, with NaN between and after them."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def save_filters(layers: Sequence[Layer], *paths: Path, title: str) -> None:
    """Draw the first convolution's filters, and the second's by input and output channel."""
    convolutions = [layer for layer in layers if layer.weight.ndim == 4][:2]
    with new_figure(paths, (5.2 * len(convolutions), 4.7), title, images=True) as figure:
        panels = figure.subplots(1, len(convolutions), squeeze=False)[0]
        _first_filters(figure, panels[0], convolutions[0])
        for axes, layer in zip(panels[1:], convolutions[1:], strict=True):
            _second_filters(figure, axes, layer)


def _first_filters(figure: Figure, axes: Axes, layer: Layer) -> None:
    filters = layer.weight.detach().float().cpu().numpy()[:, 0]
    columns = int(np.ceil(np.sqrt(len(filters))))
    _signed(figure, axes, mosaic(filters, columns))
    _leave_blank(axes, filters, columns)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    count, height, width = filters.shape
    trained = "fixed" if layer.fixed else "learned"
    inputs = layer.weight.shape[1]
    of = "" if inputs == 1 else f", on the first of {inputs} input channels"
    axes.set_title(f"{layer.name}: {count} {trained} filters of {height}×{width} pixels{of}")


def _second_filters(figure: Figure, axes: Axes, layer: Layer) -> None:
    kernels = layer.weight.detach().float().cpu().numpy()
    outs, ins, height, width = kernels.shape
    shown = kernels[:MOST_KERNELS, :MOST_KERNELS]
    tiles = shown.reshape(-1, height, width)
    _signed(figure, axes, mosaic(tiles, shown.shape[1]))
    for axis, size, count in (
        (axes.xaxis, width + 1, shown.shape[1]),
        (axes.yaxis, height + 1, shown.shape[0]),
    ):
        numbers = range(0, count, max(1, count // 8))
        axis.set_ticks([number * size + (size - 2) / 2 for number in numbers], map(str, numbers))
    axes.tick_params(length=0)
    of = "" if shown.shape == kernels.shape else f", {len(shown)}×{shown.shape[1]} of them shown"
    axes.set(
        title=f"{layer.name}: {outs}×{ins} kernels of {height}×{width}{of}",
        xlabel="input channel",
        ylabel="output channel",
    )
    axes.spines[:].set_visible(False)


def _leave_blank(axes: Axes, tiles: Floats, columns: int) -> None:
    """Cover the empty end of a mosaic's last row with the background's colour."""
    count, height, width = tiles.shape
    rows, used = -(-count // columns), (count - 1) % columns + 1
    corner = (used * (width + 1) - 1.5, (rows - 1) * (height + 1) - 0.5)
    rest = (columns - used) * (width + 1)
    axes.add_patch(Rectangle(corner, rest, height + 1, facecolor=colours().paper, lw=0))


def _signed(figure: Figure, axes: Axes, sheet: Floats, label: str = "weight") -> None:
    """Draw signed values as an image in which 0 has the background's colour, with a colour bar."""
    most = float(np.nanmax(np.abs(sheet))) or 1.0
    image = axes.imshow(sheet, cmap=colour_map(colours().signed), vmin=-most, vmax=most)
    axes.set_facecolor(colours().gap)  # seen between tiles, where the sheet holds NaN
    figure.colorbar(image, ax=axes, label=label, shrink=0.75, fraction=0.05)


# --- activations


def save_activations(
    image: npt.NDArray[np.uint8],
    layers: Sequence[Layer],
    probabilities: Floats,
    classes: Sequence[str],
    *paths: Path,
    title: str,
    own: bool = False,
) -> None:
    """Draw one image's way through the network: each layer's activations, then the probabilities.

    Args:
        image: (H, W).
        layers: for a batch of that image; the last, if linear, gives the scores.
        probabilities: (classes,).
        classes: their names.
        paths: files to write.
        title: of the figure.
        own: whether the image is the user's own.
    """
    hidden = layers[:-1] if not layers or layers[-1].output.ndim == 2 else layers
    heights = [0.62 if layer.output.ndim == 2 else 1.0 for layer in hidden]
    with new_figure(paths, (9.5, sum(heights) + 3.5), title, images=True) as figure:
        ratios = [2.0, max(sum(heights) + 0.4 * bool(hidden), 0.1)]
        top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios)[:, 0]
        _ends(top, image, probabilities, short_names(classes), own)
        if hidden:
            rows = below.subplots(len(hidden), 1, squeeze=False, height_ratios=heights)[:, 0]
            for axes, layer in zip(rows, hidden, strict=True):
                _answers(below, axes, layer)
            below.supxlabel(
                OWN_SCALES.format(zero=colours().zero), fontsize=7, color=colours().quiet
            )


def _ends(
    figure: SubFigure,
    image: npt.NDArray[np.uint8],
    probabilities: Floats,
    classes: Sequence[str],
    own: bool,
) -> None:
    """Draw the image, and the probabilities of the classes."""
    first, last = figure.subplots(1, 2, width_ratios=[1, 2.6])
    _image(first, image, "the image", own)
    best = int(probabilities.argmax())
    chosen, other = colours().classes[0], colours().train
    shades = [chosen if place == best else other for place in range(len(classes))]
    bars = last.bar(range(len(classes)), probabilities, color=shades, width=0.7)
    few = len(classes) <= MOST_NAMED
    named = range(len(classes)) if few else np.argsort(-probabilities)[:LIKELIEST].tolist()
    shares = [f"{p:.1%}" if p >= 0.0005 and i in named else "" for i, p in enumerate(probabilities)]
    last.bar_label(bars, shares, fontsize=7)
    names = [classes[number] for number in named]
    last.set_xticks(named, names, **(ASLANT if long_names(names) else {}))
    last.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    last.set(
        xlabel="class" if few else f"class; the {LIKELIEST} most likely are named",
        ylabel="probability",
        ylim=(0, 1.12),
    )
    last.set_title("Prediction", loc="left")
    last.set_yticks([0, 0.5, 1])
    kinds = {"the predicted class": chosen, "the other classes": other}
    last.legend(
        handles=[Patch(color=colour, label=kind) for kind, colour in kinds.items()],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        fontsize=7,
    )


def _answers(figure: SubFigure, axes: Axes, layer: Layer) -> None:
    """Draw one layer's output for the first image of the batch: maps side by side, or a strip."""
    output = layer.output[0].detach().float().cpu().numpy()
    count = len(output)
    if output.ndim == 1:
        sheet, what = output[None], f"{count} units, one stripe each"
        image = axes.imshow(sheet, aspect="auto", **_colours(sheet))
        axes.set_xlabel("unit", labelpad=1)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_yticks([])
    else:
        strongest = np.sort(np.argsort(-output.max(axis=(1, 2)), kind="stable")[:ROW])
        sheet = mosaic(output[strongest], ROW)
        of = f", the {len(strongest)} strongest shown" if count > len(strongest) else ""
        what = f"{count} maps of {output.shape[1]}×{output.shape[2]}{of}"
        image = axes.imshow(sheet, **_colours(sheet))
        _leave_blank(axes, output[strongest], ROW)
        step = output.shape[2] + 1
        places = [place * step + (step - 2) / 2 for place in range(len(strongest))]
        axes.set_xticks(places, [f"{number}" for number in strongest], fontsize=7)
        axes.tick_params(length=0, pad=1)
        axes.set_yticks([])
    axes.set_facecolor(colours().gap)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{layer.name}: {', '.join(layer.operations)}; {what}", fontsize=9, loc="left")
    figure.colorbar(
        image, ax=axes, fraction=0.02, pad=0.01, ticks=MaxNLocator(2), label="activation"
    )


def _colours(sheet: Floats) -> dict[str, Any]:
    """The colour scale of activations: from the background at 0, or around it for signed values."""
    most = float(np.nanmax(np.abs(sheet))) or 1.0
    if np.nanmin(sheet) < 0:
        return {"cmap": colour_map(colours().signed), "vmin": -most, "vmax": most}
    return {"cmap": colour_map(colours().amount), "vmin": 0, "vmax": most}


def _image(axes: Axes, image: npt.NDArray[Any], title: str, own: bool, most: float = 255) -> None:
    axes.imshow(image, cmap=shading(own), vmin=0, vmax=most)
    _frame(axes, title)


def _frame(axes: Axes, title: str) -> None:
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(colours().edge)


# --- pixels


def save_saliency(
    image: npt.NDArray[np.uint8],
    found: Saliency,
    classes: Sequence[str],
    *paths: Path,
    title: str,
    own: bool = False,
) -> None:
    """Draw an image, and the gradients of its score and of its lead with respect to the pixels.

    Args:
        image: (H, W).
        found: its gradients.
        classes: their names.
        paths: files to write.
        title: of the figure.
        own: whether the image is the user's own.
    """
    said, rival = classes[found.predicted], classes[found.rival]
    with new_figure(paths, (9.5, 3.6), title, images=True) as figure:
        first, *others = figure.subplots(1, 3)
        _image(first, image, f"predicted {said}", own)
        for axes, values, name, change in (
            (others[0], found.gradient, f"Why {said}", f"score of {said}"),
            (
                others[1],
                found.difference,
                f"Why {said} and not {rival}",
                f"score of {said} less {rival}'s",
            ),
        ):
            _signed(figure, axes, values.numpy(), f"d({change}) / d(brightness)")
            # The digit's outline shows where a pixel is.
            axes.contour(image, levels=[127], colors=colours().ink, linewidths=0.6, alpha=0.7)
            _frame(axes, name)


def save_maximised(
    found: Maximised, classes: Sequence[str], *paths: Path, title: str, own: bool = False
) -> None:
    """Draw for each class the image that maximises its score, and its probability.

    Args:
        found: the images (classes, H, W) and their probabilities.
        classes: their names.
        paths: files to write.
        title: of the figure.
        own: whether the network was trained on the user's own images.
    """
    classes, columns = short_names(classes), 5
    rows = -(-len(classes) // columns)
    between = "\n" if long_names(classes) else " "
    with new_figure(paths, (8.5, 1.95 * rows + 0.6), title, images=True) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(classes) :]:
            axes.set_axis_off()
        pairs = zip(found.images.numpy(), found.confidences.tolist(), strict=True)
        for axes, name, (image, sure) in zip(grid.flat, classes, pairs, strict=False):
            _image(axes, image, f"{name}:{between}{sure:.1%}", own, 1.0)
