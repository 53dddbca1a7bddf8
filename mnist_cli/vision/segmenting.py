"""Cuts a picture's ink into digits, in reading order.

Digits that touch each other are not separated.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.form import stroke_width
from mnist_cli.vision.ink import WIDEST, Grey, Ink, Mask, find_ink
from mnist_cli.vision.lines import without
from mnist_cli.vision.pieces import ALIKE, CLEANER, Box, Region, pieces_of, usual_height
from mnist_cli.vision.ruling import ruling

LOWEST, HIGHEST = 0.4, 2.5
"""The lowest and the highest digit, as shares of the digits' usual height."""
SMALLEST_ZERO = 0.25
DISC = 0.93
"""The smallest overlap of a punched hole with a disc, as a share of their union."""
DUST = 0.1
"""Lower pieces are specks, as a share of the digits' usual height."""
NARROW = 0.08
"""The widest stroke of small digits on a page, as a share of the shorter side."""
SMALLEST_WINDOW = 5
MOST_DIGITS = 2000


@dataclass(frozen=True)
class Cut:
    """The ink of one digit (H, W), float32, 0 to 1, and its box in the picture."""

    levels: Grey
    box: Box


@dataclass(frozen=True)
class LeftOut:
    """Ink that is not a digit: the box around it, the reason, and its number of pieces."""

    box: Box
    why: str
    pieces: int = 1


@dataclass(frozen=True)
class Page:
    """The digits on a picture in reading order, and what else is on it."""

    cuts: list[Cut]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Reading:
    """The result of a search with one width of stroke.

    Attributes:
        ink: without lines.
        labels: (H, W), the number of the piece at each pixel.
        height: the digits' usual height, in pixels.
        digits: in no particular order.
        left_out: everything else.
    """

    ink: Ink
    labels: npt.NDArray[np.int32]
    height: float
    digits: list[Region]
    left_out: list[LeftOut]


def cut_apart(grey: Grey) -> Page:
    """Each digit on grey levels (H, W), 0 to 255: by lines from the top, in a line from the left.

    Raises:
        DataError: the picture is blank, holds no digit, or more than :data:`MOST_DIGITS`.
    """
    return _page(read_page(grey))


def read_page(grey: Grey) -> Reading:
    """Find the digits on grey levels (H, W), with wide strokes; small digits with narrow strokes.

    Shadows, print that shows through and the desk beside the paper are wider than the strokes of
    small digits.

    Raises:
        DataError: the picture is blank, or has too many pieces of ink.
    """
    wide, failure = _try(grey, WIDEST)
    narrow, _ = _try(grey, NARROW) if NARROW * min(grey.shape) >= SMALLEST_WINDOW else (None, None)
    if wide is None and narrow is None and failure is not None:
        raise failure
    if wide is None or narrow is None or not narrow.digits:
        return wide or narrow  # type: ignore[return-value]
    return wide if _is_written(wide, narrow, NARROW * min(grey.shape)) else narrow


def _try(grey: Grey, widest: float) -> tuple[Reading | None, DataError | None]:
    try:
        return _read(find_ink(grey, widest)), None
    except DataError as error:
        return None, error


def _is_written(wide: Reading, narrow: Reading, window: float) -> bool:
    """Whether to prefer the wide search: its digits have strokes too wide for the narrow search.

    Also if both find the same number of large digits: the wide search is better against grain.
    """
    if len(wide.digits) == len(narrow.digits) and narrow.height > 3 * window:
        return True
    desk = narrow.ink.desk
    strokes = _mask(wide, [one for one in wide.digits if not one.is_blot])
    if desk.any() and strokes[desk].mean() > 0.95:  # no desk: the strokes of a thick 1
        return True
    if not wide.digits or max(wide.digits, key=lambda one: one.area).is_blot:
        return False
    written = _mask(wide, wide.digits)
    stroke = stroke_width(written.astype(np.float32))
    if stroke <= 0.6 * window or wide.height <= 3 * stroke:
        return False
    # The narrow search finds the ragged edges of wide strokes, or takes the strokes for the paper.
    found = _mask(narrow, narrow.digits)
    return bool(max(written[found].mean(), written[~desk].mean()) > 0.7)


def _mask(reading: Reading, digits: list[Region]) -> Mask:
    numbers = [number for digit in digits for number in digit.pieces]
    return np.isin(reading.labels, numbers)


def _read(ink: Ink) -> Reading:
    lines, size = ruling(ink)
    ink = without(ink, lines, size, along=True)
    labels, pieces = pieces_of(ink.mask)
    height = usual_height(pieces, ink.mask.shape)
    specks = [piece for piece in pieces if piece.box.height < DUST * height]
    reading = Reading(ink, labels, height, [], [LeftOut(line.box, "a line") for line in lines])
    beside = set(np.unique(labels[ndimage.maximum_filter(ink.desk, 5)]).tolist())
    for region in grouped([one for one in pieces if one.box.height >= DUST * height], height):
        beside_paper = not beside.isdisjoint(region.pieces)
        why = "at the paper's edge" if beside_paper else _objection(region, reading)
        if why is None:
            reading.digits.append(region)
        else:
            reading.left_out.append(LeftOut(region.box, why, len(region.pieces)))
    if specks:
        around = functools.reduce(Box.union, (one.box for one in specks))
        reading.left_out.append(LeftOut(around, "specks", len(specks)))
    return reading


def _objection(region: Region, reading: Reading) -> str | None:
    """Why a region is not a digit, given the digits' usual height; None if it may be a digit."""
    height, shape = reading.height, reading.ink.mask.shape
    share = region.box.height / height
    if region.box.at_edge(shape) and not ALIKE[0] <= share <= ALIKE[1]:
        return "at the picture's edge, not as high as the digits"
    if share < LOWEST and not (share >= SMALLEST_ZERO and _is_ring(region, reading.labels)):
        return f"lower than {LOWEST} of the digits' height"
    if share > HIGHEST:
        return f"higher than {HIGHEST} of the digits' height"
    if region.box.width > HIGHEST * height:
        return f"wider than {HIGHEST} of the digits' height"
    if region.is_blot and (share < 0.7 or _is_disc(region, reading.labels)):
        return "a blot"
    return None


def _is_disc(region: Region, labels: npt.NDArray[np.int32]) -> bool:
    """Whether it is a filled disc, such as a punched hole; a 0 filled with a marker is less round."""
    box = region.box
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in (box.height, box.width))
    disc = np.add.outer(y**2, x**2) <= 1
    ink = np.isin(labels[box.part], region.pieces)
    round_ = 0.9 <= box.width / box.height <= 1.1
    return bool(round_ and (ink & disc).sum() >= DISC * (ink | disc).sum())


def _is_ring(region: Region, labels: npt.NDArray[np.int32]) -> bool:
    """Whether it is round and hollow, as a zero is: some people write zeros smaller."""
    box = region.box
    ink = np.isin(labels[box.part], region.pieces)
    hollow = int(ndimage.binary_fill_holes(ink).sum()) - int(ink.sum())
    return 0.5 <= box.width / box.height <= 1.8 and hollow >= 0.1 * ink.size


def grouped(pieces: list[Region], height: float) -> list[Region]:
    """Join the pieces of a digit: close, one above the other, together no taller than a digit."""
    order = sorted(pieces, key=lambda one: -one.area)
    digits: list[Region] = []
    boxes = np.zeros((len(order), 4), dtype=np.int64)
    for piece in order:
        count = len(digits)
        matches = np.flatnonzero(_belong_together(boxes[:count], piece.box, height))
        if len(matches):
            place = int(matches[0])
            digits[place] = digits[place].join(piece)
        else:
            place = count
            digits.append(piece)
        box = digits[place].box
        boxes[place] = box.top, box.left, box.bottom, box.right
    return digits


def _belong_together(
    boxes: npt.NDArray[np.int64], box: Box, height: float
) -> npt.NDArray[np.bool_]:
    """Whether each of the boxes (N, 4) is a part of the same digit as ``box``."""
    top, left, bottom, right = boxes.T
    overlap = np.minimum(right, box.right) - np.maximum(left, box.left)
    gap = np.maximum(top, box.top) - np.minimum(bottom, box.bottom)
    union = np.maximum(bottom, box.bottom) - np.minimum(top, box.top)
    close = (overlap >= 0.5 * np.minimum(right - left, box.width)) & (gap < 0.3 * height)
    return np.asarray(close & (union <= 1.4 * height))


def _page(reading: Reading) -> Page:
    if not reading.digits:
        reasons = ", ".join(dict.fromkeys(one.why for one in reading.left_out))
        raise DataError(f"no digits found; left out: {reasons or 'nothing'}", CLEANER)
    if len(reading.digits) > MOST_DIGITS:
        raise DataError(f"{len(reading.digits):,} pieces of ink are too many for digits", CLEANER)
    order = in_reading_order([one.box for one in reading.digits])
    digits = [reading.digits[place] for place in order]
    cuts = [_cut(reading.ink, reading.labels, digit) for digit in digits]
    return Page(cuts, reading.left_out)


def in_reading_order(boxes: Sequence[Box]) -> list[int]:
    """The indices of boxes, line by line from the top, within a line from the left.

    The page may be rotated by up to 5 degrees, and a line may bend. The page is straightened. Then
    a box belongs to a line if its middle lies within the height of the line's last boxes.
    """
    x, y = (
        np.array([(one.left + one.right) / 2 for one in boxes]),
        np.array([(one.top + one.bottom) / 2 for one in boxes]),
    )
    half = np.array([one.height / 2 for one in boxes])
    y = y - _slope(x, y, 2 * float(np.median(half))) * x
    lines: list[list[int]] = []
    for place in np.argsort(x, kind="stable").tolist():
        away = [abs(float(np.mean(y[line[-3:]])) - y[place]) for line in lines]
        nearest = int(np.argmin(away)) if away else 0
        if away and away[nearest] <= max(half[place], half[lines[nearest][-1]]):
            lines[nearest].append(place)
        else:
            lines.append([place])
    lines.sort(key=lambda line: float(np.mean(y[line])))
    return [place for line in lines for place in line]


def _slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], height: float) -> float:
    """The slope of the lines of writing, from -0.09 to 0.09: the middles concentrate most there."""
    slopes = np.linspace(-0.09, 0.09, 37)
    gathered = [_gathered(y - slope * x, height / 3) for slope in slopes]
    best = int(np.argmax(gathered))
    return float(slopes[best]) if gathered[best] > 1.2 * _gathered(y, height / 3) else 0.0


def _gathered(y: npt.NDArray[np.float64], bin_height: float) -> int:
    rows = np.floor(y / bin_height).astype(int)
    return int((np.bincount(rows - rows.min()) ** 2).sum())


def _cut(ink: Ink, labels: npt.NDArray[np.int32], digit: Region) -> Cut:
    box = digit.box
    levels = np.where(np.isin(labels[box.part], digit.pieces), ink.levels[box.part], 0)
    return Cut(levels.astype(np.float32), box)
