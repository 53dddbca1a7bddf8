"""Brings a picture of anything to 28×28 grey levels, without inverting or centring it.

For pictures of the user's own data, which need not be digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 28
SMALLEST = 4
"""The smallest width and height of a picture, in pixels."""
LARGEST = 1024
"""The largest number of pixels per side of an image given as numbers."""

IN_WORDS = (
    "the longer side is scaled to 28 pixels (area means, or bicubic if it is smaller), "
    "margins have the grey of the border"
)


def fit(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale grey levels (H, W), 0 to 255, to fit into (28, 28), uint8.

    The longer side becomes 28 pixels and the aspect ratio stays. The margins have the median of
    the picture's border. Pillow resamples 8 bits in integers, so every machine gets the same
    pixels. A picture of 28×28 does not change, and needs no Pillow.
    """
    levels: npt.NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if levels.shape == (SIDE, SIDE):
        return levels
    small = scaled(levels, SIDE)
    height, width = small.shape
    border = np.concatenate((levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1]))
    form = np.full((SIDE, SIDE), int(np.median(border)), dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    form[top : top + height, left : left + width] = small
    return form


def scaled(levels: npt.NDArray[Any], longest: int) -> npt.NDArray[Any]:
    """Scale (H, W), uint8 or float32, to ``longest`` pixels on the longer side.

    Uses area means if the picture becomes smaller, else bicubic, which can overshoot.
    """
    from PIL import Image

    factor = longest / max(levels.shape)
    height, width = (max(1, round(factor * side)) for side in levels.shape)
    method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(levels).resize((width, height), method))
