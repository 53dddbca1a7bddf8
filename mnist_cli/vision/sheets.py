"""Finds the digit on a sheet of paper that lies on a desk."""

from __future__ import annotations

import contextlib

import numpy as np
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.ink import Grey, Mask, find_ink
from mnist_cli.vision.one_digit import TALL, cut_whole
from mnist_cli.vision.pieces import Box, pieces_of
from mnist_cli.vision.segmenting import Cut

SHEET = 0.85
"""The smallest share of its box that a sheet on a desk fills; an ellipse fills less."""
DRAWN = 0.7
"""The largest share of its box that a digit's strokes fill, except for an upright 1."""
BENT = 0.05
"""The smallest share of rows and columns that cross the strokes of a digit twice, except for a 1."""
SLIM = 4.0
"""The smallest height of a 1, as a multiple of its mean width in a row."""


def cut_digit(grey: Grey) -> list[Cut]:
    """The only digit on grey levels (H, W), 0 to 255; the one on the sheet if that lies on a desk.

    Raises:
        DataError: nothing is written.
    """
    (whole,) = cut_whole(find_ink(grey))
    box = whole.box
    with contextlib.suppress(DataError):
        if _is_sheet(whole.levels > 0.5):
            (cut,) = cut_whole(find_ink(grey[box.part]))
            sides = cut.box.top, cut.box.left, cut.box.bottom, cut.box.right
            return [Cut(cut.levels, Box(*np.add(sides, (box.top, box.left) * 2).tolist()))]
    return [whole]


def _is_sheet(mask: Mask) -> bool:
    """Whether ink is a rectangle with strokes as holes; the holes of a square 0 are rectangles."""
    filled = ndimage.binary_fill_holes(mask)
    if filled.mean() < SHEET:
        return False
    labels, holes = pieces_of(filled & ~mask)
    return any(
        one.box.height >= TALL * len(mask) and _is_drawn(labels == one.pieces[0]) for one in holes
    )


def _is_drawn(hole: Mask) -> bool:
    """Whether a hole in ink has the form of strokes: bent or slim, unlike the hole of a bold 0."""
    hole = hole[np.ix_(hole.any(axis=1), hole.any(axis=0))]
    slim = len(hole) ** 2 >= SLIM * np.count_nonzero(hole)
    runs = (
        np.diff(hole, axis=axis, prepend=False, append=False).sum(axis=axis) // 2 for axis in (0, 1)
    )
    bent = np.concatenate([one > 1 for one in runs]).mean() >= BENT
    return bool((slim or bent) and hole.mean() < DRAWN)
