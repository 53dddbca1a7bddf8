"""Numbers as grey levels: the first fraction decides the scale of all blocks."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_cli.data.levels import Levels
from mnist_cli.errors import DataError


def levels() -> Levels:
    return Levels(lambda row: f"row {row}")


@pytest.mark.parametrize(("first", "second"), [(1 / 3, 0.5), (0.5, 1 / 3)])
def test_the_scale_of_the_first_fraction_stays(first: float, second: float) -> None:
    """A third is level 85 of 255, and none of 256; a half is level 128 of 256, and none of 255."""
    decided = levels()
    assert decided.of(np.array([[first]])).tolist() == [[85 if first < second else 128]]
    with pytest.raises(DataError, match=rf"row 1: a pixel is {second!r:.4}"):
        decided.of(np.array([[second]]))


def test_whole_numbers_in_an_earlier_block_forbid_fractions() -> None:
    decided = levels()
    decided.of(np.array([[7.0]]))
    with pytest.raises(DataError, match=r"row 1: a pixel is 0\.5, not a whole number"):
        decided.of(np.array([[0.5]]))


@pytest.mark.parametrize("bad", [-1.0, 256.0, float("nan")])
def test_numbers_out_of_range_are_refused_with_their_row(bad: float) -> None:
    decided = levels()
    decided.of(np.zeros((3, 2)))
    with pytest.raises(DataError, match=f"row 4: a pixel is {bad}, not 0 to 255"):
        decided.of(np.array([[0.0, 9.0], [255.0, bad]]))


def test_rows_before_the_first_fraction_are_scaled_with_it() -> None:
    decided = levels()
    blocks = [np.array([[0.0], [1.0]]), np.array([[51 / 255]])]
    images = np.concatenate([decided.of(block) for block in blocks])
    assert decided.finish(images) == ("its pixels are fractions of 1: multiplied by 255",)
    assert images.tolist() == [[0], [255], [51]]
