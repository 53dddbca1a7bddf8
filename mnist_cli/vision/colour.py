"""Converts coloured ink to grey levels that stand out from the paper as dark ink does.

The channel that differs most from the paper shows the ink. Yellow is nearly as light as white
paper, but has no blue; red may be as light as green paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.vision.form import stroke_width
from mnist_cli.vision.ink import CONNECTED, Grey, Mask, is_light_on_dark, otsu

LEAST = 0.15
"""The part of a colour's difference that is ignored, as a share of the paper's light.

Pale ruled lines, coloured light and the colour noise of JPEG remain below it.
"""
WIDE = 2.5
"""The smallest width of coloured paper, as a multiple of the width of the dark strokes on it."""
SMALLEST = 0.03
"""The smallest width of coloured paper, as a share of the picture's shorter side."""
INSIDE = 0.3
"""The smallest share of dark strokes on coloured paper; the lines of squared paper go beyond it."""


def with_colour(grey: Grey, colour: npt.NDArray[np.uint8] | None) -> Grey:
    """Grey levels (H, W), 0 to 255, in which coloured ink differs from its paper in lightness.

    Args:
        grey: the lightness of the picture, float32; unchanged where no colour stands out.
        colour: the picture (H, W, 3), or None.
    """
    if colour is None or not _is_colourful(colour):
        return grey
    inverted = is_light_on_dark(grey)
    light = 255 - grey if inverted else grey
    white = light >= otsu(light.ravel())
    grey_difference = _difference(light, white)
    most = np.zeros(grey.shape, np.float32)
    for one in range(3):
        channel = colour[..., one].astype(np.float32)
        np.maximum(most, _difference(255 - channel if inverted else channel, white), out=most)
    excess = np.maximum(most - grey_difference - LEAST, 0)
    excess[_coloured_paper(excess > 0, grey_difference > 2 * LEAST)] = 0
    paper = float(np.median(light[white]))
    shown = np.clip(light - paper * excess, 0, 255).astype(np.float32)
    return np.asarray(255 - shown if inverted else shown)


def _coloured_paper(coloured: Mask, dark: Mask) -> Mask:
    """The colour under dark strokes, such as a highlighter's or a sticky note's: it is no ink."""
    if not coloured.any() or not dark.any():
        return np.zeros_like(coloured)
    width = max(WIDE * stroke_width(dark.astype(np.float32)), SMALLEST * min(dark.shape), 3)
    wide = ndimage.grey_opening((coloured | dark).view(np.uint8), round(width))
    areas, _ = ndimage.label(wide)
    strokes, _ = ndimage.label(dark, structure=CONNECTED)
    on_it = dark & (_shares(strokes, areas > 0) >= INSIDE)[strokes]
    outlined = _shares(areas, ndimage.binary_fill_holes(dark), coloured) > 0.5
    written = np.isin(areas, np.unique(areas[on_it])) & (areas > 0) & ~outlined[areas]
    pieces, _ = ndimage.label(coloured, structure=CONNECTED)
    return np.asarray(coloured & np.isin(pieces, np.unique(pieces[written])))


def _shares(
    labels: npt.NDArray[np.int32], mask: Mask, among: Mask | None = None
) -> npt.NDArray[np.float64]:
    """By label, the share of an area's pixels, or of those in ``among``, that are in ``mask``."""
    among = np.ones_like(mask) if among is None else among
    count = int(labels.max()) + 1
    sizes, inside = (np.bincount(labels[one], minlength=count) for one in (among, among & mask))
    return np.asarray(inside / np.maximum(sizes, 1))


def _difference(levels: Grey, white: Mask) -> Grey:
    """The difference of each pixel from the paper, as a share of the largest in its direction."""
    paper = float(np.median(levels[white]))
    # Nothing is much lighter than white paper: without a minimum, a little more light would count.
    darker, lighter = max(paper, 32.0), max(255 - paper, 128.0)
    rest = levels - np.float32(paper)
    return np.where(rest < 0, -rest / darker, rest / lighter).astype(np.float32)


def _is_colourful(colour: npt.NDArray[Any]) -> bool:
    """Whether the channels of any pixel differ enough to count."""
    spread = colour.max(axis=2).astype(np.int16) - colour.min(axis=2)
    return bool(spread.max() > 255 * LEAST / 2)
