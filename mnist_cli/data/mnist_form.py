"""Whether images have the form of MNIST's: ink in a box of 20 pixels, centred by mass in 28×28.

Kaggle's and Keras's files have it, since their images are MNIST's. A network that was trained on
such images needs pictures in the same form.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_cli.vision.fitting import SIDE

IN_WORDS = "MNIST's form, a digit 20 pixels high or wide with its centre of mass in the middle"

_EDGE = 64
"""Fainter pixels are not ink: JPEG leaves up to 40 around it."""
_SIDES = (19, 20, 21)
"""Pixels of the longer side of the ink."""
_OFF = 1.0
"""Pixels between the centre of mass and pixel 14, at most."""
_SHARE = 0.9
"""Of the images; of MNIST's 99.9% have the form, of MNIST as JPEG of quality 50 99%."""
_LOOKED_AT = 2000


def has_mnist_form(images: npt.NDArray[np.uint8]) -> bool:
    """Whether nearly all images (N, 28, 28), N > 0, have MNIST's form; 2,000 are looked at."""
    chosen = images[:: -(-len(images) // _LOOKED_AT)]
    ink = np.where(chosen >= _EDGE, chosen, 0).astype(np.float64)
    rows, columns = ink.sum(2), ink.sum(1)
    sides = np.maximum(_extents(rows), _extents(columns))
    good = np.isin(sides, _SIDES)
    for sums in (rows, columns):
        centres = sums @ np.arange(SIDE) / np.maximum(sums.sum(1), 1)
        good &= np.abs(centres - SIDE / 2) <= _OFF
    return bool(good.mean() >= _SHARE)


def _extents(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """From the first to the last column that is not 0, in each row (N, 28); 28 if all are."""
    full = sums > 0
    extents: npt.NDArray[np.int64] = SIDE - full.argmax(1) - full[:, ::-1].argmax(1)
    return extents
