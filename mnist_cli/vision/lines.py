"""Takes the lines of ruled paper, tables and boxes out of a picture's ink.

A line is straight, thin, and longer than a stroke. It slopes by at most :data:`STEEPEST`, and
may bend slowly, as on a photographed sheet. Upright lines are found in the transposed picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.vision.ink import CONNECTED, Ink, Mask
from mnist_cli.vision.pieces import Box

STEEPEST = 0.08
"""The largest slope of a line: 4.5 degrees."""
LENGTHS = (0.12, 0.05, 0.02)
"""The shortest pieces of lines to look for, one after the other, as shares of the longer side."""
BOLDEST = 0.1
"""The largest thickness of a line, as a share of its length."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line from column ``start`` to ``stop`` (excluded); if it is upright, these are rows.

    Attributes:
        start: the first column.
        centres: (length,), the row of the line's middle in each column.
        thickness: in pixels.
        upright: whether rows and columns are exchanged.
    """

    start: int
    centres: npt.NDArray[np.float64]
    thickness: float
    upright: bool

    @property
    def stop(self) -> int:
        """The column after the last."""
        return self.start + len(self.centres)

    @property
    def box(self) -> Box:
        """The box around the line in the picture."""
        half = self.thickness / 2
        low = max(0, int(np.floor(self.centres.min() - half + 0.5)))
        high = int(np.ceil(self.centres.max() + half + 0.5))
        if self.upright:
            return Box(self.start, low, self.stop, high)
        return Box(low, self.start, high, self.stop)

    @property
    def half(self) -> int:
        """Half of the thickness, with a pixel for its soft edge."""
        return int(np.ceil(self.thickness / 2)) + 1

    @property
    def middle(self) -> float:
        """The row in the middle of the line."""
        return float(self.centres[len(self.centres) // 2])

    def near(self, along: float, across: float, reach: float) -> bool:
        """Whether a point (column, row) lies within ``reach`` of the line or of its ends."""
        if not self.start - reach <= along < self.stop + reach:
            return False
        place = int(np.clip(along - self.start, 0, len(self.centres) - 1))
        return bool(abs(self.centres[place] - across) <= self.thickness / 2 + reach)


def straight_runs(mask: Mask) -> list[Line]:
    """The straight, thin runs of ink in a mask (H, W), along rows and along columns."""
    return [*_runs(mask, upright=False), *_runs(mask.T, upright=True)]


def without(ink: Ink, lines: list[Line], height: float = 0, *, along: bool = False) -> Ink:
    """The ink without the lines; strokes that cross a line are mended.

    Where a line is paler than the pen, the pen's ink on it stays. Strokes between the cells of a
    table are not mended, so that digits of two cells do not become one. ``height``, the height of
    the digits, distinguishes a table from squared paper. With ``along``, strokes that lie on a line
    stay too.
    """
    if not lines:
        return ink
    bands = [_band([one for one in lines if one.upright == way], ink.mask) for way in (False, True)]
    table = _is_table(lines, height)
    gone = np.zeros(ink.mask.shape, dtype=bool)
    for line in lines:
        # Where other lines cross this line, it is not thicker.
        seen = ink.mask & ~bands[not line.upright]
        erased, seen, levels = (
            (gone.T, seen.T, ink.levels.T) if line.upright else (gone, seen, ink.levels)
        )
        place = _pixels(line, seen.shape)
        pen = _darker(levels[place])
        erased[place] |= ~(pen | _thicker(line, seen) if along and not table else pen)
    rest = ink.mask & ~gone
    mask = rest if table else rest | (ink.mask & _mended(rest, max(one.half for one in lines)))
    return Ink(np.where(mask, ink.levels, 0).astype(np.float32), mask, ink.desk, ink.noise)


def _band(lines: list[Line], mask: Mask) -> Mask:
    """The pixels (H, W) on lines of one direction."""
    band = np.zeros(mask.shape, dtype=bool)
    for line in lines:
        seen = band.T if line.upright else band
        seen[_pixels(line, seen.shape)] = True
    return band


def _thicker(line: Line, mask: Mask) -> Mask:
    """The columns (length,) of a line in which a stroke lies on it or crosses it.

    A stroke that ends at the line makes it thicker on one side only.
    """
    near = mask[_pixels(line, mask.shape, beyond=3)]
    depth, above = near.sum(axis=0), near[: len(near) // 2].sum(axis=0)
    usual, below = float(np.median(depth)), near[len(near) // 2 + 1 :].sum(axis=0)
    thick = depth >= usual + max(2, 0.5 * usual)
    return np.asarray(thick & (above > np.median(above)) & (below > np.median(below)))


def _mended(mask: Mask, half: int) -> Mask:
    """The mask with the gaps closed that lines of this half thickness leave."""
    reach = 2 * half + 3
    grown = ndimage.maximum_filter(mask.astype(np.uint8), reach)
    return np.asarray(ndimage.minimum_filter(grown, reach) > 0)


def _is_table(lines: list[Line], height: float) -> bool:
    """Whether the lines cross and leave room for a digit between them."""
    if not height:
        return False
    for upright in (False, True):
        middles = np.sort([line.middle for line in lines if line.upright == upright])
        gaps = np.diff(middles)
        gaps = gaps[gaps > 0.3 * height]
        if len(middles) < 2 or not len(gaps) or float(np.median(gaps)) < height:
            return False
    return True


def _runs(mask: Mask, *, upright: bool) -> Iterator[Line]:
    """The runs along rows, the longest first: strokes that join two lines are shorter."""
    left = mask.copy()
    for share in LENGTHS:
        shortest = max(12, round(share * max(mask.shape))) | 1
        for line in _runs_of(left, shortest, upright=upright):
            left[_pixels(line, mask.shape)] = False
            yield line


def _runs_of(mask: Mask, shortest: int, *, upright: bool) -> list[Line]:
    # A line of one pixel that slopes by 2 degrees steps every 29 pixels: widened by a pixel on
    # each side, it runs straight for three steps. Print has gaps of a pixel or two.
    wide = ndimage.maximum_filter1d(mask.astype(np.uint8), 3, axis=0)
    closed = ndimage.minimum_filter1d(ndimage.maximum_filter1d(wide, 5, axis=1), 5, axis=1)
    kept = ndimage.minimum_filter1d(closed, shortest, axis=1, mode="constant")
    opened = ndimage.maximum_filter1d(kept, shortest, axis=1)
    labels, _ = ndimage.label(mask & (opened > 0), structure=CONNECTED)
    lines = []
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        if part[1].stop - part[1].start >= shortest:
            line = _line(labels[part] == number, part[0].start, part[1].start, upright=upright)
            if line is not None:
                lines.append(line)
    return lines


def _line(run: Mask, top: int, left: int, *, upright: bool) -> Line | None:
    """The line through a run of ink (H, W), or none if it is thick, steep or bent."""
    depth = run.sum(axis=0)
    inked = np.flatnonzero(depth)
    thickness = float(np.median(depth[inked]))
    length = run.shape[1]
    if thickness > BOLDEST * length + 1 or len(inked) < 0.7 * length:
        return None
    rows = np.arange(run.shape[0]) @ run / np.maximum(depth, 1)
    # Where a stroke lies on the line or crosses it, the ink's middle is not the line's middle.
    pure = inked[depth[inked] <= 1.5 * thickness + 1]
    centres = np.interp(np.arange(length), pure, rows[pure])
    smooth = ndimage.median_filter(centres, size=max(3, length // 8) | 1, mode="reflect")
    along = np.arange(length)
    slope, offset = np.polyfit(along, smooth, 1)
    # The ends may turn into other lines.
    bend = float(np.percentile(np.abs(smooth - slope * along - offset), 90))
    if abs(slope) > STEEPEST or bend > 0.02 * length + 1 or _ragged(centres - smooth, thickness):
        return None
    return Line(left, top + smooth, thickness, upright)


def _ragged(rest: npt.NDArray[np.float64], thickness: float) -> bool:
    return float(np.percentile(np.abs(rest), 80)) > thickness / 2 + 1


def _pixels(
    line: Line, shape: tuple[int, ...], beyond: int = 0
) -> tuple[npt.NDArray[np.intp], ...]:
    """Rows and columns of the pixels on a line, and some beyond each of its edges."""
    half = line.half + beyond
    columns = np.arange(max(0, line.start - 2), min(shape[1], line.stop + 2))
    centres = line.centres[np.clip(columns - line.start, 0, len(line.centres) - 1)]
    # Rounding each row would skip every other one at a centre of 0.5.
    rows = np.floor(centres + 0.5).astype(np.intp)[None] + np.arange(-half, half + 1)[:, None]
    return np.clip(rows, 0, shape[0] - 1), np.broadcast_to(columns, rows.shape)


def _darker(levels: npt.NDArray[np.float32]) -> Mask:
    """Pixels (thickness, length) of a line that are much darker than the line itself."""
    darkest = levels.max(axis=0)
    low, usual = np.percentile(_of_line(darkest), (20, 50))
    return np.asarray(levels > usual + max(0.3, 3 * (usual - low)))


def _of_line(darkest: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The columns (length,) of a line, except those where a pen stroke lies along the line.

    A pale line and a pen make two groups of levels; a line that fades has levels between them.
    """
    low, high = np.percentile(darkest, (15, 85))
    share = (darkest - low) / max(high - low, 1e-6)
    between = ((share > 0.3) & (share < 0.7)).mean()
    if low < 0.1 or high - low < 0.4 or between > 0.1:
        return darkest
    return np.asarray(darkest[share < 0.5])
