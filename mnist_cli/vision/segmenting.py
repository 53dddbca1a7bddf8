"""Cuts a picture's ink into digits: all of it as one, or connected pieces in reading order.

Digits that touch each other are not separated.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.ink import Grey, Ink

SPECK = 0.03
"""Pieces with a smaller share of the largest piece's area are ignored as dirt."""
MOST_PIECES = 1000


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last excluded, in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Region:
    """The pieces of ink, by number, of a digit, and the box around them."""

    box: Box
    pieces: tuple[int, ...]
    area: int

    def join(self, other: Region) -> Region:
        """Both in one region."""
        return Region(self.box.union(other.box), self.pieces + other.pieces, self.area + other.area)


@dataclass(frozen=True)
class Cut:
    """The ink of one digit (H, W), float32, 0 to 1, and its box in the picture."""

    levels: Grey
    box: Box


def cut_whole(ink: Ink) -> list[Cut]:
    """All the ink as one digit, without specks and without pieces that touch the edge."""
    labels, pieces = _pieces(ink)
    whole = _without_intruders(pieces, ink.levels.shape)
    return [_cut(ink, labels, functools.reduce(Region.join, whole))]


def cut_apart(ink: Ink) -> list[Cut]:
    """Each digit by itself, line by line from the top, within a line from the left.

    Raises:
        DataError: more than :data:`MOST_PIECES` pieces.
    """
    labels, pieces = _pieces(ink)
    if len(pieces) > MOST_PIECES:
        raise DataError(f"{len(pieces):,} pieces of ink are too many for digits")
    pieces = _without_intruders(pieces, ink.levels.shape)
    digits = _grouped(pieces, float(np.median([piece.box.height for piece in _large(pieces)])))
    return [_cut(ink, labels, digit) for digit in in_reading_order(digits)]


def _pieces(ink: Ink) -> tuple[npt.NDArray[np.int32], list[Region]]:
    """The number of the piece at each pixel (H, W), and the pieces that are not specks."""
    labels, _ = ndimage.label(ink.mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    pieces = [
        Region(Box(rows.start, columns.start, rows.stop, columns.stop), (number,), int(area))
        for number, ((rows, columns), area) in enumerate(
            zip(ndimage.find_objects(labels), areas[1:], strict=True), start=1
        )
        if area >= SPECK * areas.max()
    ]
    return labels, pieces


def _large(pieces: list[Region]) -> list[Region]:
    """The pieces at least a third as high as the highest."""
    tallest = max(piece.box.height for piece in pieces)
    return [piece for piece in pieces if piece.box.height >= tallest / 3]


def _without_intruders(pieces: list[Region], shape: tuple[int, ...]) -> list[Region]:
    """Omit pieces that touch the picture's edge, such as a table's, if a digit lies inside.

    A digit in a tight cut touches the edge itself, and stays.
    """
    inside = [piece for piece in pieces if not _at_edge(piece.box, shape)]
    tall = any(piece.box.height >= shape[0] / 5 for piece in inside)
    return inside if tall else pieces


def _at_edge(box: Box, shape: tuple[int, ...]) -> bool:
    return box.top == 0 or box.left == 0 or box.bottom == shape[0] or box.right == shape[1]


def _grouped(pieces: list[Region], height: float) -> list[Region]:
    """Join the pieces of a digit: close, above each other, and together no taller than a digit."""
    digits: list[Region] = []
    for piece in sorted(pieces, key=lambda one: -one.area):
        match = next((one for one in digits if _belong_together(one.box, piece.box, height)), None)
        if match is not None:
            digits.remove(match)
            piece = match.join(piece)
        digits.append(piece)
    return digits


def _belong_together(first: Box, second: Box, height: float) -> bool:
    overlap = min(first.right, second.right) - max(first.left, second.left)
    gap = max(first.top, second.top) - min(first.bottom, second.bottom)
    return (
        overlap >= 0.5 * min(first.width, second.width)
        and gap < 0.3 * height
        and first.union(second).height <= 1.4 * height
    )


def in_reading_order(digits: list[Region]) -> list[Region]:
    """Digits sorted line by line.

    A digit belongs to a line if its middle lies within the height of the line's last digit. The
    last rather than the first, so that a line may slope.
    """
    lines: list[list[Region]] = []
    for digit in sorted(digits, key=lambda one: one.box.left):
        middle = (digit.box.top + digit.box.bottom) / 2
        for line in lines:
            if line[-1].box.top <= middle < line[-1].box.bottom:
                line.append(digit)
                break
        else:
            lines.append([digit])
    lines.sort(key=lambda line: np.mean([one.box.top + one.box.bottom for one in line]))
    return [digit for line in lines for digit in line]


def _cut(ink: Ink, labels: npt.NDArray[np.int32], digit: Region) -> Cut:
    box = digit.box
    part = np.s_[box.top : box.bottom, box.left : box.right]
    levels = np.where(np.isin(labels[part], digit.pieces), ink.levels[part], 0)
    return Cut(levels.astype(np.float32), box)
