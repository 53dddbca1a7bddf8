"""Decides which ink of a picture is its only digit: not dirt, and not the rest of a frame.

All distances are shares of the picture's shorter side, so that they mean the same at every size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.ink import CONNECTED, TOUCH, Grey, Ink, Mask, spans
from mnist_cli.vision.lines import Line, straight_runs, without
from mnist_cli.vision.pieces import Box, pieces_of
from mnist_cli.vision.ruling import FAINT
from mnist_cli.vision.segmenting import Cut

SPECK = 0.03
"""Pieces with a smaller share of the largest piece's area are dirt."""
DOT = 0.06
"""A compact piece with a smaller extent is a dot, and no digit."""
COMPACT = 1.6
"""The largest extent of a dot, as a multiple of its thickness."""
SMALLEST = 6
"""The smallest height of a digit, in pixels, unless the picture is tiny."""
BAND = 0.25
"""The depth of the margin that can hold the rest of a frame."""
MARGIN = 0.12
"""The largest distance of the rest of a frame from the edge of the picture."""
FLUSH = 0.8
"""The share of a frame's line that is straight and parallel to the edge."""
THICK = 0.125
"""The largest thickness of the rest of a frame; the segments of a display are thicker."""
LONG, IN_SMALL = 0.4, 0.2
"""The shortest line of a frame's rest away from the edge: in general, and in a small picture."""
SMALL = 64
"""Side of a small picture, in pixels: a digit of :data:`IN_SMALL` of this would be illegible."""
CONTACT = 0.5
"""The share of a smudge's length that touches the edge; a digit touches it with a smaller share."""

CROSSING = 0.7
"""The shortest line of a frame or of ruled paper that is removed from the digit."""
BEYOND = 0.06
"""The smallest length by which a line passes the digit."""
TALL = 0.2
"""The smallest height of a digit beside which all ink that reaches in from the edge is ignored."""
WHOLE = 0.95
"""The smallest length of a frame's bar along an edge, as a share of that side."""
APART = 0.15
"""The smallest gap between the digit and a bar that is not one of its strokes."""
CLOSE = 0.15
"""The largest gap between the edge and the inner part of a broken digit in a tight crop."""
SLIM = 1.8
"""Height divided by width from which a picture is a closely cut 1, without a frame."""
GAP = 0.2
"""The largest gap in a broken stroke."""
THICKER = 1.8
"""The largest thickness of a part of a broken digit, as a multiple of another part's."""

Labels = npt.NDArray[np.int32]

NOTHING = "nothing is written on it"


@dataclass(frozen=True)
class Piece:
    """Connected ink, and its position relative to the edge of the picture.

    Attributes:
        number: its label.
        area: number of its pixels.
        box: around it.
        touches: whether it reaches the edge or nearly does.
        frame: whether it looks like the rest of a frame: in the margin, straight, along an edge.
        smudge: whether it looks like dirt: in the margin, much of its length touching the edge.
    """

    number: int
    area: int
    box: Box
    touches: bool
    frame: bool
    smudge: bool


def cut_whole(ink: Ink) -> list[Cut]:
    """All the ink as one digit, without dirt, and without the rest of a frame at the edge.

    Raises:
        DataError: there is no other ink, so nothing is written.
    """
    ink = _without_lines(ink)
    labels, count = ndimage.label(ink.mask, structure=CONNECTED)
    pieces = _pieces(labels, count)
    digit = _without_specks(_digit(pieces, labels))
    mask = np.isin(labels, [one.number for one in digit])
    if not digit or _only_dots(ink.levels, mask):
        raise DataError(NOTHING, "The digit must stand out from its paper.")
    box = _box(mask)
    return [Cut(np.where(mask[box.part], ink.levels[box.part], 0).astype(np.float32), box)]


def _without_lines(ink: Ink) -> Ink:
    """The ink without the lines of a frame or of ruled paper, which pass the digit on both sides.

    A stroke as long as a line, such as the bar of a 7 in a tight crop, ends where the digit ends.
    """
    runs = straight_runs(ink.mask | (ink.levels > max(FAINT, 2.5 * ink.noise)))
    lines = _crossing(runs, ink.mask.shape)
    pieces = pieces_of(without(ink, lines).mask)[1] if lines else []
    if not pieces:
        return ink
    rest = max(pieces, key=lambda one: one.area).box
    if rest.height < TALL * ink.mask.shape[0]:
        return ink
    passing = [
        line
        for line in lines
        if _passes(line, rest, ink.mask.shape) and not _is_base(line, lines, rest, ink.mask.shape)
    ]
    return without(ink, passing) if passing else ink


def _crossing(lines: list[Line], shape: tuple[int, ...]) -> list[Line]:
    """The lines along the edges of the picture, and those that lead from edge to edge.

    The stem of a 4 may lead from edge to edge, but no digit has two.
    """
    long = [one for one in lines if one.stop - one.start >= CROSSING * _side(one, shape)]
    through = [one for one in long if _leads_through(one, shape)]
    rim = [one for one in long if _gap(one, shape) <= BAND]
    if len(rim) < 3:
        rim = [one for one in through if _gap(one, shape) <= MARGIN]
    if min(shape) <= SMALL:  # here the bar of a 7 is as long as a line
        return rim
    several = sum(one.upright for one in through) > 1
    return [one for one in long if one in rim or (one in through and (several or not one.upright))]


def _leads_through(line: Line, shape: tuple[int, ...]) -> bool:
    slack = 1 + 0.03 * _side(line, shape)
    return line.start <= slack and line.stop >= _side(line, shape) - slack


def _side(line: Line, shape: tuple[int, ...]) -> int:
    return shape[0] if line.upright else shape[1]


def _gap(line: Line, shape: tuple[int, ...]) -> float:
    """The distance of a line from the edge that it runs along."""
    across = shape[1] if line.upright else shape[0]
    return min(line.middle, across - 1 - line.middle) / across


def _passes(line: Line, digit: Box, shape: tuple[int, ...]) -> bool:
    """Whether a line continues beyond the digit on both sides."""
    start, stop = (digit.top, digit.bottom) if line.upright else (digit.left, digit.right)
    beyond = min(start - line.start, line.stop - stop)
    return beyond >= BEYOND * _side(line, shape)


def _is_base(line: Line, lines: list[Line], digit: Box, shape: tuple[int, ...]) -> bool:
    """Whether a line is a stroke of a tight crop, such as the base of a 2.

    The rest of the digit reaches from there to the opposite edge, where a frame would have a line.
    """
    before, after = (digit.left, digit.right) if line.upright else (digit.top, digit.bottom)
    across = shape[1] if line.upright else shape[0]
    first = line.middle < across / 2
    alone = all(one.upright != line.upright or (one.middle < across / 2) == first for one in lines)
    return alone and (across - after if first else before) <= max(1, TOUCH * across)


def _box(mask: Mask) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _digit(pieces: list[Piece], labels: Labels) -> list[Piece]:
    """The pieces of the digit; none if all are parts of a frame or smudges in the margin.

    A digit in a frame does not reach the edge, and other things reach into a picture from the
    edge. But if the ink fills the picture, the picture is a tight crop. Then straight pieces at the
    edge, and others that end close to the pieces inside, are strokes of a broken digit.
    """
    if all(one.frame or one.smudge for one in pieces):
        return []
    pieces = [one for one in pieces if not _is_bar(one, pieces, labels)]
    others = [one for one in pieces if not one.frame]
    reaching = [one for one in others if one.touches]
    inside = [one for one in others if not one.touches]
    tall = any(one.box.height >= TALL * labels.shape[0] for one in inside)
    close = not tall or any(min(_gaps(one.box, labels.shape)) <= CLOSE for one in inside)
    if reaching and close and spans(labels > 0):
        return _cluster(pieces, inside, labels) if tall else pieces
    return inside if tall else others


def _is_bar(piece: Piece, pieces: list[Piece], labels: Labels) -> bool:
    """Whether a piece is a frame's bar along a whole side of the picture, not a stroke.

    In a tight crop, a broken stroke is close to the rest of the digit, which reaches another edge.
    """
    rest = [one for one in pieces if one is not piece]
    shape, box = labels.shape, piece.box
    along = max(box.height / shape[0], box.width / shape[1])
    tall = any(one.box.height >= 2 * TALL * shape[0] for one in rest)
    if along < WHOLE or not tall or not _in_margin(_own(piece, labels), box, shape):
        return False
    away = ndimage.distance_transform_edt(labels != piece.number)
    apart = away[(labels > 0) & (labels != piece.number)].min() > APART * min(shape)
    return bool(apart or not any(one.touches and not one.frame for one in rest))


def _gaps(box: Box, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """The distances of a box from the upper, lower, left and right edge."""
    side = min(shape)
    edges = box.top, shape[0] - box.bottom, box.left, shape[1] - box.right
    return edges[0] / side, edges[1] / side, edges[2] / side, edges[3] / side


def _cluster(pieces: list[Piece], inside: list[Piece], labels: Labels) -> list[Piece]:
    """The largest piece inside and the pieces that small gaps connect to it, directly or in a chain.

    The strokes of a digit are about equally thick: a much thicker piece at the edge is no stroke.
    """
    away = ndimage.distance_transform_edt(labels == 0)
    clusters, _ = ndimage.label(away <= GAP * min(labels.shape) / 2)
    largest = max(inside, key=lambda one: one.area)
    near = set(np.unique(labels[clusters == clusters[labels == largest.number][0]]).tolist())
    thickest = THICKER * _thickness(_own(largest, labels)) + 1
    return [
        one
        for one in pieces
        if one.number in near and (not one.touches or _thickness(_own(one, labels)) <= thickest)
    ]


def _own(piece: Piece, labels: Labels) -> Mask:
    return np.asarray(labels[piece.box.part] == piece.number)


def _without_specks(pieces: list[Piece]) -> list[Piece]:
    largest = max((one.area for one in pieces), default=0)
    return [one for one in pieces if one.area >= SPECK * largest]


def _pieces(labels: Labels, count: int) -> list[Piece]:
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    return [
        _piece(labels, number, rows, columns, int(areas[number]))
        for number, (rows, columns) in enumerate(boxes, start=1)
    ]


def _piece(labels: Labels, number: int, rows: slice, columns: slice, area: int) -> Piece:
    box = Box(rows.start, columns.start, rows.stop, columns.stop)
    touches = min(_gaps(box, labels.shape)) <= TOUCH
    height, width = labels.shape
    if min(_gaps(box, labels.shape)) > MARGIN or height > SLIM * width:
        return Piece(number, area, box, touches, frame=False, smudge=False)
    mask = labels[rows, columns] == number
    thin = _thickness(mask) - 1 <= THICK * min(labels.shape)
    flat = thin and _in_margin(mask, box, labels.shape)
    frame = flat and _flush(mask, box, labels.shape)
    smudge = flat and _contact(mask, box, labels.shape)
    return Piece(number, area, box, touches, frame=frame, smudge=smudge)


def _in_margin(mask: Mask, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether at least 95% of the piece's ink lies in the margin."""
    height, width = shape
    y, x = np.arange(box.top, box.bottom) + 0.5, np.arange(box.left, box.right) + 0.5
    depth = np.minimum.outer(np.minimum(y, height - y), np.minimum(x, width - x))[mask]
    return bool((depth > BAND * min(shape)).mean() <= 0.05)


def _flush(mask: Mask, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the side of the piece that faces a nearby edge is straight.

    A short line counts only at the very edge: elsewhere it may be a small 1 on a large page.
    """
    side = min(shape)
    long = (LONG if side > SMALL else IN_SMALL) * side
    for gap, starts in _sides(mask, box, shape):
        slack = 1 + min(0.04 * side, 0.1 * len(starts))
        straight = (starts <= starts.min() + slack).mean() >= FLUSH
        rest = len(starts) >= long or gap * side <= 1 or max(mask.shape) < SMALLEST
        if gap <= MARGIN and straight and rest:
            return True
    return False


def _contact(mask: Mask, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether the piece touches an edge with at least half of its length."""
    return any(
        gap == 0 and (starts == 0).mean() >= CONTACT for gap, starts in _sides(mask, box, shape)
    )


def _sides(
    mask: Mask, box: Box, shape: tuple[int, ...]
) -> Iterator[tuple[float, npt.NDArray[np.intp]]]:
    """For each edge: the piece's gap to it, and the additional gap of each row or column."""
    starts = mask.argmax(0), mask[::-1].argmax(0), mask.argmax(1), mask[:, ::-1].argmax(1)
    yield from zip(_gaps(box, shape), starts, strict=True)


def _only_dots(levels: Grey, mask: Mask) -> bool:
    """Whether all pieces of ink are too small or too compact for a digit.

    Pieces with small gaps count as one piece, since a stroke may be broken into dots.
    """
    side = min(mask.shape)
    reach = max(1, round(0.02 * side))
    padded, full = np.pad(mask, reach), np.pad(levels > 0.5, reach)
    joined = ndimage.binary_dilation(padded, CONNECTED, iterations=reach)
    labels, _ = ndimage.label(joined, structure=CONNECTED)
    smallest = min(SMALLEST, 0.4 * max(mask.shape))
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        ink = padded[rows, columns] & (labels[rows, columns] == number)
        extent = max(_box(ink).height, _box(ink).width)
        dot = extent < DOT * side and extent < COMPACT * _thickness(ink & full[rows, columns])
        if extent >= smallest and not dot:
            return False
    return True


def _thickness(mask: Mask) -> float:
    return 2 * float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())
