"""The colours of every figure, light and dark, and which of them are used.

Imports no matplotlib, so that an option can choose the theme. Colours are distinct to colour-blind
eyes too, and never the only mark: each has a marker, a line style or a word as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

ColourMap = str | tuple[str, ...]
"""A name of matplotlib's, or the colours from the lowest value to the highest."""


@dataclass(frozen=True)
class Colours:
    """The colours of one theme.

    Attributes:
        paper: the background.
        ink: text and axes.
        quiet: notes and lines of reference.
        edge: frames around images.
        faint: what is shown but does not count.
        gap: between tiles.
        warning: what is wrong.
        train: training figures.
        validation: validation figures.
        lines: of any number of lines, in turn.
        classes: of up to ten classes.
        strokes: colour map of a data set's images, whose strokes are bright.
        signed: colour map around 0, which has nearly the background's colour.
        amount: colour map from 0, which has nearly the background's colour.
        mistakes: colour map of counts of mistakes.
        brightest: the largest brightness of a line on this background, 0 to 1.
        darkest: the smallest brightness of a line on this background, 0 to 1.
        zero: the name of the colour of 0.
    """

    paper: str
    ink: str
    quiet: str
    edge: str
    faint: str
    gap: str
    warning: str
    train: str
    validation: str
    lines: tuple[str, ...]
    classes: tuple[str, ...]
    strokes: ColourMap
    signed: ColourMap
    amount: ColourMap
    mistakes: ColourMap
    brightest: float
    darkest: float
    zero: str


# Lines: Okabe and Ito's, Color Universal Design, 2008. Classes: Paul Tol's muted scheme, 2021,
# its palest colours darkened for white paper.
LIGHT = Colours(
    paper="#ffffff", ink="#000000", quiet="#555555", edge="#cccccc", faint="#bbbbbb",
    gap="#d4d4d4", warning="#c81e1e", train="#0072b2", validation="#d55e00",
    lines=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    classes=(
        "#cc6677", "#332288", "#bfa93a", "#117733", "#66b3dd",
        "#882255", "#44aa99", "#7a7a1e", "#aa4499", "#555555",
    ),
    strokes="gray_r", signed="RdBu_r", amount="BuPu", mistakes="Oranges",
    brightest=0.62, darkest=0.0, zero="white",
)  # fmt: skip
DARK = Colours(
    paper="#12161c", ink="#e8edf3", quiet="#a3b0bf", edge="#3d4856", faint="#5b6674",
    gap="#3a434f", warning="#ff6b6b", train="#56b4e9", validation="#ff8f4d",
    lines=("#56b4e9", "#ff8f4d", "#1fc79a", "#e59bc8", "#f0d24a", "#b4c3d4"),
    classes=(
        "#ee8899", "#8f8cf0", "#e0c95a", "#4fbf6f", "#88ccee",
        "#e06aa0", "#5fd3c2", "#b0b04a", "#cf80d8", "#b8bec6",
    ),
    strokes="gray", signed=("#9fd0ff", "#2f7cc0", "#12161c", "#c0492f", "#ffb89a"),
    amount=("#12161c", "#3f3f8f", "#9a5bc4", "#f3b6e6"),
    mistakes=("#1d232c", "#7a3a10", "#d9691a", "#ffc48a"),
    brightest=1.0, darkest=0.42, zero="black",
)  # fmt: skip

_CHOSEN: ContextVar[Colours] = ContextVar("colours", default=LIGHT)


def colours() -> Colours:
    """The colours of the figures that are drawn now; :data:`LIGHT` if nothing else is chosen."""
    return _CHOSEN.get()


@contextlib.contextmanager
def figures(*, dark: bool) -> Iterator[None]:
    """Draw the figures of the block in light or dark colours."""
    token = _CHOSEN.set(DARK if dark else LIGHT)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
