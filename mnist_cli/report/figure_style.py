"""The style of every figure, and how figures are written to files; the colours are in ``themes``."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any, cast

from matplotlib import colormaps, rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mnist_cli.base.files import atomic_write
from mnist_cli.errors import Caution, UsageError
from mnist_cli.report.console import visible
from mnist_cli.report.themes import LIGHT, ColourMap, colours

MARKERS = "osD^vP"
SINGLE = 7.0
"""Marker size for a single epoch."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a name may hold a $
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 150,
    "image.interpolation": "nearest",
    # Ids inside an SVG derive from this rather than at random: the same run gives the same bytes.
    "svg.hashsalt": "mnist_cli",
}
_INKED = (
    "text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color",
    "ytick.color", "legend.labelcolor",
)  # fmt: skip
_PAPERED = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")

_NO_GLYPH = r"Glyph (\d+) .*missing from font"

_TIMES = {"svg": {"Date": None}, "svgz": {"Date": None}, "pdf": {"CreationDate": None}}


def measured_in_training(
    *, augmented: bool | None, plain: bool, smoothed: bool, steps: bool = False
) -> str:
    """A note under curves: why training figures may look worse than validation figures.

    Args:
        augmented: whether the recipe augments images; None if some of the runs do.
        plain: whether the training loss leaves label smoothing out.
        smoothed: whether the recipe smooths labels.
        steps: whether steps are drawn as thin lines.
    """
    thin = " (thin lines: over a few steps)" if steps else ""
    parts = [f"training metrics are means over the epoch{thin}, in training mode"]
    if augmented is not False:
        parts.append("on augmented images" + (" where the recipe augments" * (augmented is None)))
    if not plain:
        parts.append("with the recipe's label smoothing")
    elif smoothed:
        parts.append("without label smoothing")
    return ", ".join(parts)


def long_names(classes: Sequence[str]) -> bool:
    """Whether some name of a class is longer than three characters."""
    return max(map(len, classes)) > 3


def style(*, images: bool = False) -> dict[Any, Any]:
    """Matplotlib's settings in the current colours; a figure of ``images`` has no grid."""
    now = colours()
    return (
        STYLE
        | {"axes.grid": not images}
        | dict.fromkeys(_INKED, now.ink)
        | dict.fromkeys(_PAPERED, now.paper)
    )


def colour_map(which: ColourMap) -> Colormap:
    """The colour map of matplotlib's name, or between the given colours."""
    if isinstance(which, str):
        return colormaps[which]
    return LinearSegmentedColormap.from_list("own", which)


def shading(own: bool) -> Colormap:
    """The colour map of images: a data set's as ink on paper, the user's ``own`` unchanged."""
    return colour_map("gray" if own else colours().strokes)


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
    """A colour for each class; hues all around for more classes than a theme has colours."""
    now = colours()
    if count <= len(now.classes):
        return list(now.classes[:count])
    # Neighbours in hue differ in brightness.
    shades = (0.85, 0.55, 0.7) if now is LIGHT else (0.95, 0.7, 0.82)
    return [to_hex(hsv_to_rgb(i / count, 0.75, shades[i % 3])) for i in range(count)]


def line_style(number: int) -> dict[str, Any]:
    """The colour and the marker of a line, by its number in the figure."""
    lines = colours().lines
    return {"color": lines[number % len(lines)], "marker": MARKERS[number % len(MARKERS)]}


def ordered_colours(count: int) -> list[str]:
    """A colour for each of several lines in order: hues from blue to red, legible on the paper."""
    now, ends = colours(), max(count - 1, 1)
    found = []
    for place in range(count):
        red, green, blue, _ = colormaps["turbo"](0.04 + 0.9 * place / ends)
        bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        target = min(max(bright, now.darkest), now.brightest)
        if target < bright:
            red, green, blue = (part * target / bright for part in (red, green, blue))
        else:
            share = (target - bright) / (1 - bright)
            red, green, blue = (part + share * (1 - part) for part in (red, green, blue))
        found.append(to_hex((red, green, blue)))
    return found


def marker_size(usual: float, epochs: int) -> float:
    """A marker's size along a curve; larger for a single epoch, which has no line."""
    return usual if epochs > 1 else max(usual, SINGLE)


@contextlib.contextmanager
def _styled(style: dict[Any, Any]) -> Iterator[None]:
    """Draw in this style: the caller's own settings and matplotlibrc do not apply."""
    with rc_context():
        rcdefaults()
        rcParams.update(style)
        yield


@contextlib.contextmanager
def new_figure(
    paths: Sequence[Path],
    size: tuple[float, float],
    title: str = "",
    *,
    images: bool = False,
) -> Iterator[Figure]:
    """A figure to draw on, which is written to each path at the end of the block.

    Args:
        paths: files to write; see :func:`save`.
        size: width and height in inches.
        title: of the figure.
        images: whether it shows images, which need no grid.
    """
    with _styled(style(images=images)):
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
        with _styled(style()), _boxes_in_words():
            figure.savefig(buffer, format=ending, bbox_inches="tight", metadata=_TIMES.get(ending))
        atomic_write(path, buffer.getvalue(), parents=True)


@contextlib.contextmanager
def _boxes_in_words() -> Iterator[None]:
    """One warning for all characters that the font lacks; matplotlib gives one for each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _NO_GLYPH)
        yield
    lacking = set()
    for one in caught:
        if found := re.match(_NO_GLYPH, str(one.message)):
            lacking.add(chr(int(found[1])))
        else:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno)
    if lacking:
        shown = ", ".join(sorted(lacking))
        message = f"the font of the pictures lacks {shown} and shows boxes instead"
        warnings.warn(message, Caution, stacklevel=2)


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
    low, high = map(float, axis.get_view_interval())
    if high < 10 * low:
        middle = (low * high) ** 0.5
        axis.set_view_interval(middle / 10**0.5, middle * 10**0.5, ignore=True)
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 500 * low else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
