"""Distinguishes lines of ruled paper, tables and boxes from the straight strokes of digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_cli.errors import DataError
from mnist_cli.vision.ink import Ink
from mnist_cli.vision.lines import Line, straight_runs, without
from mnist_cli.vision.pieces import Box, Region, pieces_of, usual_height

FAINT = 0.15
"""Smallest ink of a line, as a share of full ink."""
MOST_RUNS = 1500
"""Maximum number of straight runs to examine, the longest first."""


def ruling(ink: Ink) -> tuple[list[Line], float]:
    """The lines of ruled paper, tables and boxes that touch or could touch the digits.

    Also returns the height of the digits, in pixels, or 0 if no line is found.

    A straight run that could be a stroke of a digit is not a line. A line is longer than 1.8 digits,
    or ends at other lines on both sides, or is the side of a box.
    """
    seen = ink.mask | (ink.levels > max(FAINT, 2.5 * ink.noise))
    try:
        labels, pieces = pieces_of(seen)
    except DataError:  # grain
        return [], 0.0
    runs = sorted(straight_runs(seen), key=lambda run: -len(run.centres))[:MOST_RUNS]
    runs = [run for run in runs if _attached(run, pieces, labels)]
    if not runs:
        return [], 0.0
    frames = _frames(runs, pieces, labels)
    lines = dict.fromkeys(frames)
    height = _height_without(ink, [*lines, *(run for run in runs if _is_long(run, ink))])
    lines |= dict.fromkeys(run for run in runs if len(run.centres) >= 1.8 * height > 0)
    lines |= dict.fromkeys(_rungs(runs, frames, list(lines)))
    for _ in range(3):
        rest = [run for run in runs if run not in lines]
        lines |= dict.fromkeys(
            run for run in rest if any(_continues(line, run, 3 * height) for line in lines)
        )
    return list(lines), height


def _continues(line: Line, run: Line, farthest: float) -> bool:
    """Whether a run continues a line in its direction, not too far from its end."""
    if line.upright != run.upright or run.thickness > 1.6 * line.thickness + 1:
        return False
    gap = max(run.start - line.stop, line.start - run.stop)
    if not -2 <= gap <= farthest:
        return False
    after = run.start >= line.stop - 2
    end = line.centres[-1 if after else 0]
    meets = run.centres[0 if after else -1]
    length = len(line.centres)
    slope = (line.centres[-1] - line.centres[0]) / length
    expected = end + (slope if after else -slope) * max(gap, 0)
    return bool(abs(expected - meets) <= line.thickness + 2 + 0.02 * gap)


def _is_long(run: Line, ink: Ink) -> bool:
    return bool(len(run.centres) >= 0.35 * ink.mask.shape[0 if run.upright else 1])


def _height_without(ink: Ink, lines: list[Line]) -> float:
    left = without(ink, lines, along=True).mask
    return usual_height(pieces_of(left)[1], left.shape)


def _piece_of(run: Line, pieces: list[Region], labels: npt.NDArray[np.int32]) -> Region | None:
    """The piece of ink that a run belongs to."""
    seen = labels.T if run.upright else labels
    rows = np.clip(np.rint(run.centres).astype(int), 0, seen.shape[0] - 1)
    numbers = seen[rows, np.arange(run.start, run.stop)]
    numbers = numbers[numbers > 0]
    return pieces[int(np.bincount(numbers).argmax()) - 1] if len(numbers) else None


def _attached(run: Line, pieces: list[Region], labels: npt.NDArray[np.int32]) -> bool:
    """Whether the run's piece holds more than the run: a single stroke is no line."""
    piece = _piece_of(run, pieces, labels)
    if piece is None:
        return False
    across = piece.box.width if run.upright else piece.box.height
    return bool(across > np.ptp(run.centres) + 3 * run.thickness + 4)


def _frames(runs: list[Line], pieces: list[Region], labels: npt.NDArray[np.int32]) -> list[Line]:
    """The sides of boxes around something."""
    of_piece: dict[int, list[Line]] = {}
    for run in runs:
        piece = _piece_of(run, pieces, labels)
        if piece is not None:
            of_piece.setdefault(piece.pieces[0], []).append(run)
    boxes: list[tuple[Box, list[Line], bool]] = []
    for number, own in of_piece.items():
        box = pieces[number - 1].box
        sides = [
            _side(own, box, upright, far) for upright in (False, True) for far in (False, True)
        ]
        if all(sides):
            boxes.append((box, [one for side in sides for one in side], _is_filled(labels, box)))
    filled = [box for box, _, full in boxes if full]
    return [
        line
        for box, sides, full in boxes
        if full or any(_equal(box, other) for other in filled)
        for line in sides
    ]


def _side(runs: list[Line], box: Box, upright: bool, far: bool) -> list[Line]:
    """The runs that form a side of the box; none if they leave more than a fifth of it open."""
    start, stop = (box.top, box.bottom) if upright else (box.left, box.right)
    low, high = (box.left, box.right) if upright else (box.top, box.bottom)
    edge = high - 1 if far else low
    reach = 0.05 * (stop - start) + 4
    own = [
        run
        for run in runs
        if run.upright == upright
        and abs(run.middle - edge) <= reach
        and len(run.centres) >= 0.25 * (stop - start)
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


def _rungs(runs: list[Line], frames: list[Line], lines: list[Line]) -> list[Line]:
    """The runs between two lines, such as between the cells of a row.

    On ruled paper, a stroke can reach from line to line. A row of cells ends where its lines end.
    """
    kept: list[Line] = []
    for upright in (False, True):
        across = [line for line in lines if line.upright != upright]
        bold = float(np.median([line.thickness for line in across])) if across else 0.0
        rungs = [
            run
            for run in runs
            if run.upright == upright
            and run not in lines
            and run.thickness <= 1.6 * bold + 1
            and _spans(run, across)
        ]
        size = max((len(run.centres) for run in rungs), default=0)
        sides = [one for one in frames if one.upright == upright and len(one.centres) < 1.3 * size]
        own = [*rungs, *sides]
        ends = [
            any(abs(_at(run, run.start) - end) <= 2 * bold + 4 for run in own)
            for line in across
            for end in (line.start, line.stop)
        ]
        kept += rungs if sum(ends) > 1 else []
    return kept


def _spans(run: Line, across: list[Line]) -> bool:
    """Whether both ends of a run lie at other lines."""
    return all(
        any(line.near(_at(run, end), end, run.thickness + 3) for line in across)
        for end in (run.start, run.stop - 1)
    )


def _at(run: Line, along: int) -> float:
    return float(run.centres[along - run.start])
