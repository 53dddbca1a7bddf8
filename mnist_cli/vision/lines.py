"""Takes the lines of ruled paper, tables and boxes out of a picture's ink.

A line is straight, thin, and longer than a stroke: it slopes by :data:`STEEPEST` at most, and
may bend slowly, as on a photographed sheet. Lines of the other direction are found in the
transposed picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.vision.ink import Ink, Mask
from mnist_cli.vision.pieces import CONNECTED, Box, Region, pieces_of, usual_height

STEEPEST = 0.08
"""The largest slope of a line: 4.5 degrees."""
LENGTHS = (0.12, 0.05, 0.02)
"""The shortest pieces of lines to look for, one after the other, as shares of the longer side."""
FAINT = 0.15
"""The least ink of a line, as a share of full ink."""
BOLDEST = 0.1
"""The largest thickness of a line, as a share of its length."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line from column ``start`` to ``stop`` (excluded); from row to row if it is upright.

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


def without(ink: Ink, lines: list[Line], height: float = 0) -> Ink:
    """The ink without the lines; strokes that cross a line are mended.

    Where a line is paler than the pen, the pen's ink on it stays. Between the cells of a table
    nothing is mended, so that digits of two cells do not become one; ``height`` is that of the
    digits, which tells a table from squared paper.
    """
    if not lines:
        return ink
    band = np.zeros(ink.mask.shape, dtype=bool)
    pen = np.zeros(ink.mask.shape, dtype=bool)
    for line in lines:
        turned = band.T if line.upright else band
        place = _pixels(line, turned.shape)
        turned[place] = True
        levels = ink.levels.T if line.upright else ink.levels
        (pen.T if line.upright else pen)[place] |= _darker(levels[place])
    rest = ink.mask & (~band | pen)
    reach = 2 * max(line.half for line in lines) + 3
    grown = ndimage.maximum_filter(rest.astype(np.uint8), reach)
    mended = ndimage.minimum_filter(grown, reach) > 0
    mask = rest if _is_table(lines, height) else rest | (band & ink.mask & mended)
    return Ink(np.where(mask, ink.levels, 0).astype(np.float32), mask, ink.desk)


def _is_table(lines: list[Line], height: float) -> bool:
    """Whether the lines cross, and leave room for a digit between them."""
    if not height:
        return False
    for upright in (False, True):
        middles = np.sort([line.middle for line in lines if line.upright == upright])
        gaps = np.diff(middles)
        gaps = gaps[gaps > 0.3 * height]
        if len(middles) < 2 or not len(gaps) or float(np.median(gaps)) < 1.15 * height:
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
    found = []
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        if part[1].stop - part[1].start >= shortest:
            line = _line(labels[part] == number, part[0].start, part[1].start, upright=upright)
            if line is not None:
                found.append(line)
    return found


def _line(run: Mask, top: int, left: int, *, upright: bool) -> Line | None:
    """The line through a run of ink (H, W), or none if it is thick, steep or bent."""
    depth = run.sum(axis=0)
    inked = np.flatnonzero(depth)
    thickness = float(np.median(depth[inked]))
    length = run.shape[1]
    if thickness > BOLDEST * length + 1 or len(inked) < 0.7 * length:
        return None
    rows = np.arange(run.shape[0]) @ run / np.maximum(depth, 1)
    # Where a stroke lies on the line or crosses it, its middle is not the line's.
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


def _pixels(line: Line, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.intp], ...]:
    """Rows and columns of the pixels on a line, and one beyond each of its edges."""
    half = line.half
    columns = np.arange(max(0, line.start - 2), min(shape[1], line.stop + 2))
    centres = line.centres[np.clip(columns - line.start, 0, len(line.centres) - 1)]
    # Rounding each row would skip every other one at a centre of 0.5.
    rows = np.floor(centres + 0.5).astype(np.intp)[None] + np.arange(-half, half + 1)[:, None]
    return np.clip(rows, 0, shape[0] - 1), np.broadcast_to(columns, rows.shape)


def _darker(levels: npt.NDArray[np.float32]) -> Mask:
    """Pixels (thickness, length) of a line that are much darker than the line is."""
    darkest = levels.max(axis=0)
    low, usual = np.percentile(darkest, (20, 50))
    return np.asarray(levels > usual + max(0.3, 3 * (usual - low)))


def ruling(ink: Ink) -> tuple[list[Line], float]:
    """The lines of ruled paper, tables and boxes that touch what is written, or could.

    Straight runs are no lines where a digit's stroke could be as long: a line is longer than
    1.8 digits, or ends at other lines on both sides, or is the side of a box.
    """
    seen = ink.mask | (ink.levels > FAINT)
    runs = straight_runs(seen)
    labels, pieces = pieces_of(seen)
    runs = [run for run in runs if _attached(run, pieces, labels)]
    if not runs:
        return [], 0.0
    lines = _frames(runs, pieces, labels)
    height = _height_without(ink, [*lines, *(run for run in runs if _is_long(run, ink))])
    lines += [run for run in runs if run not in lines and _length(run) >= 1.8 * height > 0]
    lines += _rungs(runs, lines)
    for _ in range(3):
        lines += [
            run
            for run in runs
            if run not in lines and any(_continues(line, run, 3 * height) for line in lines)
        ]
    return lines, height


def _continues(line: Line, run: Line, farthest: float) -> bool:
    """Whether a run lies in the direction of a line, not too far from its end."""
    if line.upright != run.upright or run.thickness > 1.6 * line.thickness + 1:
        return False
    gap = max(run.start - line.stop, line.start - run.stop)
    if not -2 <= gap <= farthest:
        return False
    after = run.start >= line.stop - 2
    end = line.centres[-1 if after else 0]
    meets = run.centres[0 if after else -1]
    length = _length(line)
    slope = (line.centres[-1] - line.centres[0]) / length
    expected = end + (slope if after else -slope) * max(gap, 0)
    return bool(abs(expected - meets) <= line.thickness + 2 + 0.02 * gap)


def _length(line: Line) -> int:
    return line.stop - line.start


def _is_long(run: Line, ink: Ink) -> bool:
    return _length(run) >= 0.35 * ink.mask.shape[0 if run.upright else 1]


def _height_without(ink: Ink, lines: list[Line]) -> float:
    left = without(ink, lines).mask
    return usual_height(pieces_of(left)[1], left.shape)


def _piece_of(run: Line, pieces: list[Region], labels: npt.NDArray[np.int32]) -> Region | None:
    """The piece of ink that a run belongs to."""
    seen = labels.T if run.upright else labels
    rows = np.clip(np.rint(run.centres).astype(int), 0, seen.shape[0] - 1)
    numbers = seen[rows, np.arange(run.start, run.stop)]
    numbers = numbers[numbers > 0]
    return pieces[int(np.bincount(numbers).argmax()) - 1] if len(numbers) else None


def _attached(run: Line, pieces: list[Region], labels: npt.NDArray[np.int32]) -> bool:
    """Whether the run's piece holds more than the run: a stroke by itself is no line yet."""
    piece = _piece_of(run, pieces, labels)
    if piece is None:
        return False
    across = piece.box.width if run.upright else piece.box.height
    return across > np.ptp(run.centres) + 3 * run.thickness + 4


def _frames(runs: list[Line], pieces: list[Region], labels: npt.NDArray[np.int32]) -> list[Line]:
    """The sides of boxes around something."""
    of_piece: dict[int, list[Line]] = {}
    for run in runs:
        piece = _piece_of(run, pieces, labels)
        if piece is not None:
            of_piece.setdefault(piece.pieces[0], []).append(run)
    found: list[tuple[Box, list[Line], bool]] = []
    for number, own in of_piece.items():
        box = pieces[number - 1].box
        sides = [
            _side(own, box, upright, far) for upright in (False, True) for far in (False, True)
        ]
        if all(sides):
            found.append((box, [one for side in sides for one in side], _is_filled(labels, box)))
    filled = [box for box, _, full in found if full]
    return [
        line
        for box, sides, full in found
        if full or any(_equal(box, other) for other in filled)
        for line in sides
    ]


def _side(runs: list[Line], box: Box, upright: bool, far: bool) -> list[Line]:
    """The runs that make a side of the box, or none if they leave a fifth of it open."""
    start, stop = (box.top, box.bottom) if upright else (box.left, box.right)
    low, high = (box.left, box.right) if upright else (box.top, box.bottom)
    edge = high - 1 if far else low
    reach = 0.05 * (stop - start) + 4
    own = [
        run
        for run in runs
        if run.upright == upright
        and abs(run.middle - edge) <= reach
        and _length(run) >= 0.25 * (stop - start)
    ]
    covered = np.zeros(stop - start, dtype=bool)
    for run in own:
        covered[max(0, run.start - start) : run.stop - start] = True
    return own if covered.mean() >= 0.8 else []


def _is_filled(labels: npt.NDArray[np.int32], box: Box) -> bool:
    """Whether ink of more than a third of the box's height lies well inside."""
    rim_y, rim_x = round(0.12 * box.height) + 2, round(0.12 * box.width) + 2
    inner = labels[box.top + rim_y : box.bottom - rim_y, box.left + rim_x : box.right - rim_x]
    rows = np.flatnonzero((inner > 0).any(axis=1))
    return len(rows) > 0 and bool(rows[-1] - rows[0] >= 0.33 * box.height)


def _equal(first: Box, second: Box) -> bool:
    return all(
        0.85 * one <= other <= 1.18 * one
        for one, other in ((first.height, second.height), (first.width, second.width))
    )


def _rungs(runs: list[Line], lines: list[Line]) -> list[Line]:
    """The runs between two lines, such as between the cells of a row.

    On ruled paper, a stroke can reach from line to line. A row of cells ends where its lines end.
    """
    found: list[Line] = []
    for upright in (False, True):
        across = [line for line in lines if line.upright != upright]
        along = [line for line in lines if line.upright == upright]
        bold = float(np.median([line.thickness for line in across])) if across else 0.0
        rungs = [
            run
            for run in runs
            if run.upright == upright
            and run not in lines
            and run.thickness <= 1.6 * bold + 1
            and all(
                any(line.near(_at(run, end), end, run.thickness + 3) for line in across)
                for end in (run.start, run.stop - 1)
            )
        ]
        ends = [
            any(abs(_at(run, run.start) - end) <= 2 * bold + 4 for run in [*rungs, *along])
            for line in across
            for end in (line.start, line.stop)
        ]
        found += rungs if len(rungs) + len(along) > 1 and sum(ends) > 1 else []
    return found


def _at(run: Line, along: int) -> float:
    return float(run.centres[along - run.start])
