"""Grey levels in which coloured ink stands out from its paper as dark ink does.

Yellow is nearly as light as white paper, but has no blue: the channel that differs most from the
paper shows the ink.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.vision.ink import Grey, is_light_on_dark, otsu

LEAST = 0.15
"""The part of a colour's difference that does not count, as a share of the paper's light.

Pale ruled lines, coloured light and the colour noise of JPEG remain below it.
"""


def with_colour(grey: Grey, colour: npt.NDArray[np.uint8] | None) -> Grey:
    """Grey levels (H, W), 0 to 255, with coloured ink as dark, or as light, as it differs.

    Args:
        grey: the lightness of the picture, float32; the result where no colour stands out.
        colour: the picture (H, W, 3), or none.
    """
    if colour is None or not _is_colourful(colour):
        return grey
    inverted = is_light_on_dark(grey)
    light = 255 - grey if inverted else grey
    white = light >= otsu(light.ravel())
    darkest = np.full(grey.shape, np.inf, np.float32)
    for one in range(3):
        channel = colour[..., one].astype(np.float32)
        channel = 255 - channel if inverted else channel
        np.minimum(darkest, channel / _paper(channel[white]), out=darkest)
    paper = _paper(light[white])
    excess = np.maximum(light / paper - darkest - LEAST, 0)
    shown = np.maximum(light - paper * excess, 0).astype(np.float32)
    return np.asarray(255 - shown if inverted else shown)


def _paper(levels: Grey) -> np.float32:
    # Some light is left, so that nothing is divided by nearly nothing.
    return np.float32(max(float(np.median(levels)), 32.0))


def _is_colourful(colour: npt.NDArray[Any]) -> bool:
    """Whether the channels of some pixel differ by enough to count."""
    spread = colour.max(axis=2).astype(np.int16) - colour.min(axis=2)
    return bool(spread.max() > 255 * LEAST / 2)
