"""Pictures of anything as 28×28: what is kept, and what fills the rest."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_cli.vision.fitting import fit


def test_a_picture_of_28_pixels_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert np.array_equal(fit(pixels), pixels)
    assert np.array_equal(fit(pixels.astype(np.float32)), pixels)


@pytest.mark.parametrize("factor", [2, 3, 10])
def test_larger_pictures_become_area_means(factor: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (28 * factor, 28 * factor), dtype=np.uint8)
    means = pixels.reshape(28, factor, 28, factor).mean(axis=(1, 3))
    assert np.abs(fit(pixels).astype(float) - means).max() <= 1


@pytest.mark.parametrize("size", [(56, 28), (28, 56), (14, 7), (10, 30)])
def test_the_aspect_stays_and_margins_have_the_borders_grey(size: tuple[int, int]) -> None:
    pixels = np.full(size, 90, dtype=np.uint8)
    pixels[size[0] // 4 : -(size[0] // 4), size[1] // 4 : -(size[1] // 4)] = 250
    form = fit(pixels)
    rows, columns = ((form > 170).any(axis).sum() for axis in (1, 0))
    bright = (pixels > 170).any(1).sum() / (pixels > 170).any(0).sum()
    assert abs(rows / columns - bright) < 0.35 * bright
    assert (form[0, 0], form[-1, -1]) == (90, 90)
    centre = np.argwhere(form > 170).mean(axis=0)
    assert np.abs(centre - 13.5).max() <= 1


def test_levels_beyond_white_are_clipped() -> None:
    assert fit(np.array([[-3.0] * 4, [300.0] * 4, [0.4] * 4, [254.6] * 4])).max() == 255
