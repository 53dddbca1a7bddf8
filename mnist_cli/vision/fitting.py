"""A picture of anything as 28×28 grey levels, as it is: neither turned to light on dark nor centred.

For pictures of the user's own, of which nobody knows that they are digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 28
SMALLEST = 4
"""Pixels a side, below which a picture shows nothing."""

IN_WORDS = (
    "the longer side brought to 28 pixels (area means, or bicubic where they are smaller), "
    "margins in the grey of their borders"
)


def fit(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Bring grey levels (H, W), 0 to 255, into (28, 28), uint8; those of that size stay as they are.

    The longer side becomes 28 pixels and the aspect stays; what is left on both sides of the
    shorter one has the median of the picture's border. Resampled in 8 bits, which Pillow does in
    integers, so that every machine gets the same pixels.
    """
    levels: npt.NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if levels.shape == (SIDE, SIDE):
        return levels
    from PIL import Image  # not needed by images of 28 x 28

    factor = SIDE / max(levels.shape)
    height, width = (max(1, round(factor * side)) for side in levels.shape)
    way = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    scaled = np.asarray(Image.fromarray(levels).resize((width, height), way))
    form = np.full((SIDE, SIDE), _border(levels), dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    form[top : top + height, left : left + width] = scaled
    return form


def _border(levels: npt.NDArray[np.uint8]) -> int:
    """The median of the outermost pixels."""
    edges = (levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1])
    return int(np.median(np.concatenate(edges)))
