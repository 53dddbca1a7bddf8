"""The house style of every picture, and how one is written to files.

Dark on white: a page of any colour shows it as it prints. Colours are told apart by
colour-blind eyes too, and never alone: a marker, a line's kind or a word goes with each.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
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

rcdefaults()  # a matplotlibrc that lies about is not ours to follow

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
"""Size of the marker of a single epoch."""
INK, PLAIN, GAP = "gray_r", "gray", "#d4d4d4"
"""A data set's strokes are bright and drawn as ink; pictures of the user's own as they are."""

SIGNED, AMOUNT = "RdBu_r", "BuPu"  # colour maps: around 0 white, red above; from 0 white on

DEPTH = "viridis"
"""Layers in order, from the image on; light enough to see on paper up to :data:`DEEPEST`."""

DEEPEST = 0.85

AS_TRAINED = (
    "training figures are taken during the epoch, with the augmentation, dropout and label "
    "smoothing that the recipe has"
)
"""Why training may look worse than validation."""

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
    # Ids inside an SVG are drawn from this rather than at random: one run, the same bytes.
    "svg.hashsalt": "mnist_cli",
}
IMAGES = STYLE | {"axes.grid": False}

_TIMES = {"svg": {"Date": None}, "svgz": {"Date": None}, "pdf": {"CreationDate": None}}


def long_names(classes: Sequence[str]) -> bool:
    """Whether names of classes need room: more than a digit or a letter."""
    return max(map(len, classes)) > 3


def shading(own: bool) -> str:
    """The colour map of images: of the user's own (``own``), or of a known data set."""
    return PLAIN if own else INK


MOST_LETTERS = 16
"""Characters of a class's name in a figure."""

MOST_NAMED = 20
"""Up to this number of classes, a figure names all of them."""

ASLANT: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
"""Names below an axis that are longer than their places are wide."""


def short_names(classes: Sequence[str]) -> list[str]:
    """Names of classes as there is room for them in a picture; long ones lose their middle."""
    names = map(_printable, classes)
    return [one if len(one) <= MOST_LETTERS else f"{one[:9]}…{one[-6:]}" for one in names]


def _printable(text: str) -> str:
    """A file's name can hold bytes that are no text; no font has them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def class_colours(count: int) -> list[str]:
    """A colour for each class: :data:`DIGITS`, or where they do not suffice hues all around."""
    if count <= len(DIGITS):
        return list(DIGITS[:count])
    shades = (0.85, 0.55, 0.7)  # neighbours in hue differ in brightness
    return [to_hex(hsv_to_rgb(i / count, 0.75, shades[i % 3])) for i in range(count)]


def marker_size(usual: float, epochs: int) -> float:
    """A marker's size along a curve; larger where a single epoch is all, and no line shows it."""
    return usual if epochs > 1 else max(usual, SINGLE)


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure to each path, in the format of its ending; atomically, without a date.

    Raises:
        UsageError: matplotlib knows no such format.
        OutputError: it cannot be written.
    """
    for text in cast("list[Text]", figure.findobj(Text)):
        text.set_text(_printable(text.get_text()))
    for path in paths:
        buffer = io.BytesIO()
        ending = check_format(path)
        with rc_context(STYLE):
            figure.savefig(buffer, format=ending, bbox_inches="tight", metadata=_TIMES.get(ending))
        atomic_write(path, buffer.getvalue())


def check_format(path: Path) -> str:
    """The format that a path's ending means.

    Raises:
        UsageError: matplotlib knows no such format.
    """
    known = Figure().canvas.get_supported_filetypes()
    ending = path.suffix.lstrip(".").lower()
    if ending not in known:
        raise UsageError(
            f"{path}: pictures cannot be written as '{ending}'",
            f"Choose a name that ends in one of {', '.join(sorted(known))}.",
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
    """At least a decade, so that little looks little; 1, 2 and 5 of each where there are few."""
    low, high = axis.get_view_interval()
    if high / low < 10:
        middle = (low * high) ** 0.5
        axis.set_view_interval(middle / 10**0.5, middle * 10**0.5, ignore=True)
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 500 else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
