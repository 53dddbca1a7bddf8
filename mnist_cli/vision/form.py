"""MNIST's form, as its authors define it: a box of 20 pixels, centred by mass in 28.

"The original black and white (bilevel) images from NIST were size normalized to fit in a 20x20
pixel box while preserving their aspect ratio. The resulting images contain grey levels as a result
of the anti-aliasing technique used by the normalization algorithm. The images were centered in a
28x28 image by computing the center of mass of the pixels, and translating the image so as to
position this point at the center of the 28x28 field." (LeCun, Cortes, Burges,
yann.lecun.com/exdb/mnist.) They translate by whole pixels: in the test set, every centre of mass
lies between 13.5 and 14.5, counted in pixels from 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.vision.fitting import SIDE, scaled
from mnist_cli.vision.ink import Grey

BOX = 20
FINE = 4
"""Strokes are measured, widened and thinned at this multiple of the form's resolution."""
THINNEST = 2.0
"""Narrower strokes are widened to this width, in pixels of the form."""
THICKEST = 4.2
"""Wider strokes are thinned to this width; 95% of MNIST's are narrower."""
EDGE = 0.25


def is_blank(levels: Grey) -> bool:
    """Whether no pixel of levels (H, W), 0 to 1, has more than half of full ink."""
    return not bool((levels > 0.5).any())


def to_form(levels: Grey) -> npt.NDArray[np.uint8]:
    """Bring the ink of one digit (H, W), 0 to 1, to MNIST's form (28, 28), uint8.

    In addition to the authors' recipe, thin strokes are widened and thick ones thinned.
    """
    fine = _saturated(scaled(_cropped(levels), FINE * BOX).clip(0, 1))
    width = stroke_width(fine)
    missing, excess = (THINNEST * FINE - width) / 2, (width - THICKEST * FINE) / 2
    if missing >= 0.5:
        fine = _cropped(_widened(fine, missing))
    elif excess >= 0.5:
        fine = _cropped(_thinned(fine, excess))
    return _centred(scaled(fine, BOX).clip(0, 1))


def stroke_width(levels: Grey) -> float:
    """Mean width, in pixels, of the strokes on levels (H, W), float32, 0 to 1.

    A stroke of width w has a mean distance to its edge of about w/4 + 1/2 pixels.
    """
    inside = levels > 0.5
    if not inside.any():
        return 1.0
    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return max(1.0, 4 * float(distance[inside].mean()) - 2)


def _saturated(levels: Grey) -> Grey:
    """Restore full ink on hairlines, which fade when they are scaled down."""
    full = float(np.percentile(levels[levels > 0.05], 75))
    return np.asarray(np.minimum(levels / full, 1), dtype=np.float32)


def _widened(levels: Grey, by: float) -> Grey:
    """Widen strokes by this number of pixels on each side, with a soft edge of one pixel."""
    room = np.pad(levels, int(np.ceil(by)) + 1)
    away = ndimage.distance_transform_edt(room <= 0.5)
    return np.asarray(np.maximum(room, np.clip(by + 1 - away, 0, 1)), dtype=np.float32)


def _thinned(levels: Grey, by: float) -> Grey:
    """Thin strokes by this number of pixels on each side, but never remove the thickest stroke."""
    inside = ndimage.distance_transform_edt(np.pad(levels > 0.5, 1))[1:-1, 1:-1]
    by = min(by, float(inside.max()) - 1)
    return np.asarray(levels * np.clip(inside - by, 0, 1), dtype=np.float32)


def _cropped(levels: Grey) -> Grey:
    rows, columns = (np.flatnonzero((levels > EDGE).any(axis)) for axis in (1, 0))
    return levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _centred(levels: Grey) -> npt.NDArray[np.uint8]:
    """Place a box of ink (H, W) in (28, 28), uint8, with its centre of mass at pixel 14."""
    top, left = (
        min(max(round(SIDE / 2 - centre), 0), SIDE - side)
        for centre, side in zip(ndimage.center_of_mass(levels), levels.shape, strict=True)
    )
    form = np.zeros((SIDE, SIDE), dtype=np.uint8)
    height, width = levels.shape
    form[top : top + height, left : left + width] = np.rint(255 * levels)
    return form
