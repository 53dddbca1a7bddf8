"""Converts coloured ink to grey levels that stand out from the paper as dark ink does.

The channel that differs most from the paper shows the ink. Yellow is nearly as light as white
paper, but has no blue; red may be as light as green paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.vision.ink import Grey, Mask, is_light_on_dark, otsu

LEAST = 0.15
"""The part of a colour's difference that is ignored, as a share of the paper's light.

Pale ruled lines, coloured light and the colour noise of JPEG remain below it.
"""


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
    excess = -_difference(light, white) - LEAST
    most = np.zeros(grey.shape, np.float32)
    for one in range(3):
        channel = colour[..., one].astype(np.float32)
        np.maximum(most, _difference(255 - channel if inverted else channel, white), out=most)
    paper = float(np.median(light[white]))
    shown = np.clip(light - paper * np.maximum(most + excess, 0), 0, 255).astype(np.float32)
    return np.asarray(255 - shown if inverted else shown)


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
