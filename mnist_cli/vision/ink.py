"""Finds the ink on each pixel of a picture, for any paper, light and pen.

Works at one scale only: strokes are narrower than :data:`WIDEST` of the picture's shorter side;
shadows are wider, or soft. Anything as narrow and as dark as a stroke counts as ink.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import scaled

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

CONNECTED = np.ones((3, 3))
"""The neighbourhood that connects pixels, also those that touch only at a corner."""
WIDEST = 0.4
"""The widest stroke, as a share of the shorter side; MNIST's reach 0.25."""
DESK = 0.42
"""Pixels with less than this share of the paper's light may be a desk beside the paper."""
FAINTEST = 0.08
"""The smallest difference of ink from its paper, as a share of white."""
NOISE_FACTOR = 5.0
"""The smallest difference of ink from its paper, in standard deviations of the noise."""
TIGHT = 0.1
"""The largest gap between the ink and an edge of a tight crop, as a share of the picture's side."""
TOUCH = 0.05
"""The largest gap between the edge and ink that reaches it, as a share of the shorter side."""

RIM = 2
"""The largest number of pixels that a smudge at the edge loses to paper that continues beyond."""


@dataclass(frozen=True)
class Ink:
    """The ink on a picture.

    Attributes:
        levels: (H, W), float32, from 0 for paper to 1 for full ink.
        mask: (H, W), true for pixels with ink.
        desk: (H, W), true beside the paper.
        noise: standard deviation of the noise, as a share of full ink.
    """

    levels: Grey
    mask: Mask
    desk: Mask
    noise: float


def find_ink(grey: Grey, widest: float = WIDEST) -> Ink:
    """Separate ink from paper on grey levels (H, W), 0 to 255, dark on light or light on dark.

    Args:
        grey: the picture.
        widest: the widest stroke, as a share of the shorter side. Wider things are paper.

    Raises:
        DataError: the picture is blank.
    """
    grey = _smooth(grey, widest)
    light = grey if is_light_on_dark(grey, widest) else 255 - grey
    with contextlib.suppress(DataError):
        ink = _ink_above(light, widest, edge_is_paper=True)
        if _lies_inside(ink.mask):
            return ink
    return _ink_above(light, widest, edge_is_paper=False)


def _ink_above(light: Grey, widest: float, *, edge_is_paper: bool) -> Ink:
    """The ink on paper that is found with strokes up to ``widest``.

    Raises:
        DataError: no pixel differs by more than the noise.
    """
    paper = _paper(light, _window(light, widest), edge_is_paper=edge_is_paper)
    # Shade multiplies the reflected light. Dark ink was inverted, so light paper is 255 - paper.
    raw = ((light - paper) / np.maximum(255 - paper, 32)).astype(np.float32)
    desk = _desk(255 - paper) if widest < WIDEST else np.zeros(raw.shape, dtype=bool)
    return _ink_on(raw, desk)


def _ink_on(raw: Grey, desk: Mask) -> Ink:
    """The ink, from the difference (H, W) of each pixel from its paper; none on the desk.

    Raises:
        DataError: no pixel differs by more than the noise.
    """
    # In a normal distribution, the quartile lies 0.67 deviations below the median, and the 5th
    # percentile 1.64. Three quarters of a closely cut picture may be ink.
    lowest, quartile = np.percentile(raw[~desk], (5, 25))
    noise = float(quartile - lowest) / 0.97
    floor = float(quartile) + 0.67 * noise
    ink = np.where(desk, 0, np.maximum(raw - floor, 0)).astype(np.float32)
    full = _full_ink(ink, least=max(FAINTEST, NOISE_FACTOR * noise))
    levels = np.minimum(ink / full, 1).astype(np.float32)
    mask = _with_cores(levels, low=max(0.25, 2.5 * noise / full))
    return Ink(levels, mask, desk, noise / full)


def _lies_inside(mask: Mask) -> bool:
    """Whether the largest piece of ink reaches no edge, and the ink no two opposite edges."""
    labels, count = ndimage.label(mask, structure=CONNECTED)
    if not count:
        return False
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    rim = 1 + min(RIM, round(TOUCH * min(mask.shape)))
    return bool(largest[rim:-rim, rim:-rim].sum() == largest.sum()) and not spans(mask)


def spans(mask: Mask) -> bool:
    """Whether the ink (H, W) reaches two opposite edges or nearly does, as in a tight crop."""
    for axis in (0, 1):
        places, side = np.flatnonzero(mask.any(axis)), mask.shape[1 - axis]
        if places[0] <= TIGHT * side and places[-1] + 1 >= (1 - TIGHT) * side:
            return True
    return False


def _smooth(grey: Grey, widest: float) -> Grey:
    """Blur by a 400th of the longer side, against grain; small pictures do not change.

    Narrower strokes are blurred less.
    """
    sigma = max(grey.shape) / 400 * (widest / WIDEST) ** 0.5
    return np.asarray(ndimage.gaussian_filter(grey, sigma)) if sigma > 0.4 else grey


def is_light_on_dark(grey: Grey, widest: float = WIDEST) -> bool:
    """Whether the ink on grey levels (H, W), 0 to 255, is lighter than the paper.

    Chooses the polarity that leaves smoother paper with less ink: with the wrong polarity, the
    digit remains as a blot on the paper. Shadows and tight crops mislead the border and the
    majority of pixels. Of 800 pictures of 8 kinds, fitting the border was right for 85%, this 97%.
    """
    small = scaled(grey, 200) if max(grey.shape) > 200 else grey
    return _variation(small, widest) < _variation(255 - small, widest)


def _variation(light: Grey, widest: float) -> float:
    """Total variation of paper and ink, the ink's estimated from its area; in levels × pixels."""
    size = _window(light, widest)
    paper = _paper(light, size, edge_is_paper=False)
    variation = sum(float(abs(np.diff(paper, axis=axis)).sum()) for axis in (0, 1))
    # A stroke of width w has an edge of 2/w for each pixel of its area; size is the widest.
    return variation + 2 / size * float((light - paper).sum())


def _window(light: Grey, widest: float) -> int:
    side: int = min(light.shape)
    return max(3, round(widest * side))


def _desk(white: Grey) -> Mask:
    """The pixels beside the paper, from the light (H, W) of both.

    The desk is much darker from one pixel to the next. Light falls off slowly, and a hand's shadow
    leaves half of the light.
    """
    dark = white < DESK * np.percentile(white, 90)
    reach = 2 * (max(white.shape) // 200) + 5
    rim = ndimage.maximum_filter(dark, 3) & ~dark
    if not rim.any():
        return np.asarray(dark)
    lightest, darkest = ndimage.maximum_filter(white, reach), ndimage.minimum_filter(white, reach)
    jump = float(np.median(lightest[rim] / np.maximum(darkest[rim], 1)))
    return np.asarray(dark & (jump > 1.6))


def _paper(light: Grey, size: int, *, edge_is_paper: bool) -> Grey:
    """The paper under light ink: the grey opening by a square of ``size`` pixels.

    The opening removes everything too narrow to hold the square, and keeps shadows with their
    edges. With ``edge_is_paper``, the pixels at the picture's edge continue beyond it: a shadow
    that reaches the edge at an angle leaves no wedge of ink. Without it, the paper beyond is the
    darkest nearby and follows the fall of the light, so that ink at the edge is not paper.
    """
    if edge_is_paper:
        around = np.pad(light, size, mode="edge")
    else:
        fall = _light_fall(light, size)
        room = np.pad(light - _inner(fall, size), size, mode="edge")
        around = ndimage.minimum_filter(room, size=2 * (size // 2) + 1) + fall
    around[size:-size, size:-size] = light
    return _inner(ndimage.grey_opening(around, size=(size, size)), size)


def _inner(padded: Grey, size: int) -> Grey:
    return np.asarray(padded[size:-size, size:-size])


def _light_fall(light: Grey, beyond: int) -> Grey:
    """A plane fitted to the paper, extended by ``beyond`` pixels at each edge.

    The plane is fitted three times, each time to the darker 60%: the rest may be ink.
    """
    y, x = np.ix_(*(np.arange(-beyond, side + beyond, dtype=np.float32) for side in light.shape))
    terms = np.stack(np.broadcast_arrays(np.float32(1), x, y), axis=-1)
    step = max(1, max(light.shape) // 64)
    inside = terms[beyond:-beyond:step, beyond:-beyond:step].reshape(-1, 3)
    values = light[::step, ::step].ravel()
    kept = np.ones(len(values), dtype=bool)
    for _ in range(3):
        solution = np.linalg.lstsq(inside[kept], values[kept], rcond=None)[0]
        above = values - inside @ solution
        kept = above <= np.quantile(above, 0.6)
    return np.asarray(terms @ solution, dtype=np.float32)


def _full_ink(ink: Grey, least: float) -> float:
    """The level of full ink: the median of the upper group of Otsu's method.

    Raises:
        DataError: no pixel reaches ``least``.
    """
    candidates = ink[ink > least / 2]
    strong = candidates[candidates >= otsu(candidates)] if candidates.size else candidates
    if not strong.size or float(np.median(strong)) < least:
        raise DataError("nothing is written on it", "The digit must stand out from its paper.")
    return float(np.median(strong))


def otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold that splits values (N,) into two groups of least variance (Otsu 1979)."""
    # In 32 bits, values that differ by little have fewer than 128 bins.
    counts, edges = np.histogram(values.astype(np.float64), bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    total = counts * centres
    mean_below = np.cumsum(total) / np.maximum(below, 1)
    mean_above = np.cumsum(total[::-1])[::-1] / np.maximum(above, 1)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(edges[1 + int(between.argmax())])


def _with_cores(levels: Grey, low: float) -> Mask:
    """Pixels with more ink than ``low``, in pieces that reach half of full ink somewhere."""
    labels, count = ndimage.label(levels > low, structure=CONNECTED)
    peaks = ndimage.maximum(levels, labels, range(count + 1))
    keeps = np.asarray(peaks) > 0.5
    keeps[0] = False
    return np.asarray(keeps[labels])
