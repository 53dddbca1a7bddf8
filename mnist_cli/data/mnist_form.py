"""Finds out whether images have MNIST's form: ink in a box of 20 pixels, centred by mass in 28×28.

Kaggle's and Keras's files have it, since their images are MNIST's. A network trained on such
images needs pictures in the same form.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_cli.vision.fitting import SIDE

IN_WORDS = "MNIST's form, a digit 20 pixels high or wide with its centre of mass in the middle"

_EDGE = 64
"""Fainter pixels are not ink: JPEG leaves levels of up to 40 around it."""
_SIDES = (19, 20, 21)
"""Possible lengths of the longer side of the ink, in pixels."""
_OFF = 1.0
"""Maximum distance of the centre of mass from pixel 14, in pixels."""
_SHARE = 0.9
"""Share of images that must have the form; 99.9% of MNIST have it, 99% as JPEG of quality 50."""
_LOOKED_AT = 2000


def has_mnist_form(images: npt.NDArray[np.uint8]) -> bool:
    """Whether nearly all images (N, 28, 28), N > 0, have MNIST's form; examines up to 2,000."""
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
    """Columns from the first to the last that is not 0, in each row (N, 28); 28 if all are 0."""
    full = sums > 0
    extents: npt.NDArray[np.int64] = SIDE - full.argmax(1) - full[:, ::-1].argmax(1)
    return extents
