"""The connected pieces of ink on a picture, their boxes, and the height of the digits among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.ink import CONNECTED, Mask

MOST_PIECES = 20_000
CLEANER = "Crop the picture to the digits; they must stand out from their paper."
"""The hint for a picture in which no digits are found."""
ALIKE = (0.6, 1.5)
"""Range of the heights of digits on one picture, as shares of the usual height."""


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

    @property
    def part(self) -> tuple[slice, slice]:
        """The index of its pixels in a picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def at_edge(self, shape: tuple[int, ...]) -> bool:
        """Whether it touches the edge of a picture of this shape."""
        return self.top == 0 or self.left == 0 or self.bottom == shape[0] or self.right == shape[1]


@dataclass(frozen=True)
class Region:
    """The pieces of ink of a digit, by number, and the box around them."""

    box: Box
    pieces: tuple[int, ...]
    area: int

    def join(self, other: Region) -> Region:
        """Both in one region."""
        return Region(self.box.union(other.box), self.pieces + other.pieces, self.area + other.area)

    @property
    def is_blot(self) -> bool:
        """Whether it is filled and compact, as a dot is; only a very short stroke is so too."""
        box = self.box
        return self.area > 0.7 * box.height * box.width and box.height < 1.8 * box.width


def pieces_of(mask: Mask) -> tuple[npt.NDArray[np.int32], list[Region]]:
    """The number of the piece at each pixel of a mask (H, W), from 1, and the pieces.

    Raises:
        DataError: more than :data:`MOST_PIECES`.
    """
    labels, count = ndimage.label(mask, structure=CONNECTED)
    if count > MOST_PIECES:
        raise DataError(f"{count:,} pieces of ink are too many for digits", CLEANER)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return labels, [
        Region(Box(rows.start, columns.start, rows.stop, columns.stop), (number,), int(area))
        for number, ((rows, columns), area) in enumerate(
            zip(ndimage.find_objects(labels), areas, strict=True), start=1
        )
    ]


def usual_height(pieces: list[Region], shape: tuple[int, ...]) -> float:
    """The height of most digits, in pixels; 0 if there is no piece.

    A median would follow many specks, or a single large mark. Pieces with :data:`ALIKE` heights
    form groups; the group with the greatest count^1.5 × height wins. Three digits count more than a
    mark five times as high; eight count more than 30 specks of a tenth of their height.
    """
    inside = [one for one in pieces if not one.box.at_edge(shape)]
    compact = [one for one in inside if one.box.width <= 3 * one.box.height and not one.is_blot]
    voters = compact or inside or pieces
    if not voters:
        return 0.0
    heights = np.sort([one.box.height for one in voters]).astype(float)
    heights = heights[heights >= 0.1 * heights[-1]]
    first = np.searchsorted(heights, ALIKE[0] * heights)
    last = np.searchsorted(heights, ALIKE[1] * heights, side="right")
    best = int((np.minimum(last - first, 30) ** 1.5 * heights).argmax())
    return float(np.median(heights[first[best] : last[best]]))
