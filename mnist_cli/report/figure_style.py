"""The style of every figure, and how figures are written to files.

Dark on white, so that a page of any colour shows a figure as it prints. Colours are distinct to
colour-blind eyes too, and never the only mark: each has a marker, a line style or a word as well.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any, cast

from matplotlib import rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mnist_cli.base.files import atomic_write
from mnist_cli.errors import UsageError
from mnist_cli.report.console import visible

rcdefaults()  # a matplotlibrc of the user's does not apply

TRAIN, VALIDATION, RATE = "#0072b2", "#d55e00", "#555555"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, Color Universal Design, 2008."""

DIGITS = (
    "#cc6677", "#332288", "#bfa93a", "#117733", "#66b3dd",
    "#882255", "#44aa99", "#7a7a1e", "#aa4499", "#555555",
)  # fmt: skip
"""Ten classes: Paul Tol's muted scheme, 2021, its palest colours darkened for white paper."""

MARKERS = "osD^vP"
SINGLE = 7.0
"""Marker size for a single epoch."""
INK, PLAIN, GAP = "gray_r", "gray", "#d4d4d4"
"""Colour maps: a data set's bright strokes are drawn as ink, the user's own images unchanged."""

SIGNED, AMOUNT = "RdBu_r", "BuPu"  # colour maps: around 0 white, red above; from 0 white on

DEPTH = "viridis"
"""Colour map of layers in order; dark enough for white paper up to :data:`DEEPEST`."""

DEEPEST = 0.85

AS_TRAINED = (
    "training figures are measured during the epoch, with the recipe's augmentation, dropout and "
    "label smoothing"
)
"""A note under curves: why training may look worse than validation."""

WITHOUT_SMOOTHING = (
    "training figures are measured during the epoch, with the recipe's augmentation and dropout, "
    "and without label smoothing"
)
"""The same for losses that leave label smoothing out."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a name may hold a $
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
    # Ids inside an SVG derive from this rather than at random: the same run gives the same bytes.
    "svg.hashsalt": "mnist_cli",
}
IMAGES = STYLE | {"axes.grid": False}

_TIMES = {"svg": {"Date": None}, "svgz": {"Date": None}, "pdf": {"CreationDate": None}}


def long_names(classes: Sequence[str]) -> bool:
    """Whether some name of a class is longer than three characters."""
    return max(map(len, classes)) > 3


def shading(own: bool) -> str:
    """The colour map of images; ``own`` are the user's own."""
    return PLAIN if own else INK


MOST_LETTERS = 16
"""Characters of a class's name in a figure."""

MOST_NAMED = 20
"""Up to this number of classes, a figure names all of them."""

ASLANT: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
"""Style of long names below an axis."""


def short_names(classes: Sequence[str]) -> list[str]:
    """Names of classes for figures; long ones lose their middle."""
    names = map(_printable, classes)
    return [one if len(one) <= MOST_LETTERS else f"{one[:9]}…{one[-6:]}" for one in names]


def _printable(text: str) -> str:
    """Replace bytes in a file's name that are not text, and control characters: no font has them."""
    return visible(text.encode("utf-8", "replace").decode("utf-8"))


def class_colours(count: int) -> list[str]:
    """A colour for each class: of :data:`DIGITS`, or hues all around for more classes."""
    if count <= len(DIGITS):
        return list(DIGITS[:count])
    shades = (0.85, 0.55, 0.7)  # neighbours in hue differ in brightness
    return [to_hex(hsv_to_rgb(i / count, 0.75, shades[i % 3])) for i in range(count)]


def marker_size(usual: float, epochs: int) -> float:
    """A marker's size along a curve; larger for a single epoch, which has no line."""
    return usual if epochs > 1 else max(usual, SINGLE)


@contextlib.contextmanager
def new_figure(
    paths: Sequence[Path],
    size: tuple[float, float],
    title: str = "",
    *,
    style: dict[Any, Any] = STYLE,
) -> Iterator[Figure]:
    """A figure to draw on, which is written to each path at the end of the block.

    Args:
        paths: files to write; see :func:`save`.
        size: width and height in inches.
        title: of the figure.
        style: :data:`STYLE` or :data:`IMAGES`.
    """
    with rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        if title:
            figure.suptitle(title)
        yield figure
        save(figure, *paths)


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure to each path, in the format of its suffix, atomically and without a date.

    Raises:
        UsageError: matplotlib has no such format.
        OutputError: the file cannot be written.
    """
    for text in cast("list[Text]", figure.findobj(Text)):
        text.set_text(_printable(text.get_text()))
    for path in paths:
        buffer = io.BytesIO()
        ending = check_format(path)
        with rc_context(STYLE):
            figure.savefig(buffer, format=ending, bbox_inches="tight", metadata=_TIMES.get(ending))
        atomic_write(path, buffer.getvalue(), parents=True)


def check_format(path: Path) -> str:
    """The format of a path's suffix.

    Raises:
        UsageError: matplotlib has no such format.
    """
    known = Figure().canvas.get_supported_filetypes()
    ending = path.suffix.lstrip(".").lower()
    if ending not in known:
        raise UsageError(
            f"{path}: '{ending}' is not a format of pictures",
            f"End the name with one of {', '.join(sorted(known))}.",
        )
    return ending


def logarithmic(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes with plain numbers."""
    if x:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
    if y:
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)


def _plain_numbers(axis: Axis) -> None:
    """Show at least a decade, so that small changes look small, and 1, 2 and 5 of few decades."""
    low, high = axis.get_view_interval()
    if high / low < 10:
        middle = (low * high) ** 0.5
        axis.set_view_interval(middle / 10**0.5, middle * 10**0.5, ignore=True)
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 500 else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
