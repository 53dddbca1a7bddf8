from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mnist_cli import catalogue
from mnist_cli.data import bundled, store

SPEC = catalogue.get("digits")


@pytest.fixture(scope="module")
def splits() -> dict[str, store.Arrays]:
    return {split: store.read(SPEC, split, "no such directory") for split in ("train", "test")}


def test_counts_types_and_shapes_are_the_catalogues(splits) -> None:
    for split, arrays in splits.items():
        assert len(arrays) == SPEC.count(split)
        assert arrays.images.shape == (SPEC.count(split), 28, 28)
        assert (arrays.images.dtype, arrays.labels.dtype) == (np.uint8, np.int64)
        assert set(arrays.labels.tolist()) == set(range(10))


def test_labels_are_sklearns_in_order(splits) -> None:
    both = np.concatenate([splits["train"].labels, splits["test"].labels])
    assert np.array_equal(both, load_digits().target)


def test_each_form_lies_in_one_split() -> None:
    """Each writer's form begins with the digits in order, three times: the cut is at one."""
    digits = "".join(map(str, load_digits().target))
    starts = [m.start() for m in re.finditer("0123456789" * 3, digits)]
    assert bundled.FIRST_TEST_IMAGE in starts
    # Forms are alike in length, so no other form hides between this one and the one before.
    assert bundled.FIRST_TEST_IMAGE - starts[starts.index(bundled.FIRST_TEST_IMAGE) - 1] < 140


def test_images_keep_mnists_margin_and_use_its_range(splits) -> None:
    images = splits["train"].images
    margin = np.ones((28, 28), dtype=bool)
    margin[4:24, 4:24] = False
    assert not images[:, margin].any()
    box = images[:, 4:24, 4:24].any(axis=0)
    assert box.any(axis=0).all()
    assert box.any(axis=1).all()
    assert images.max() == 255


def test_enlarging_keeps_each_pixels_place() -> None:
    """A lone bright pixel (row 1, column 6) comes out where its 2.5×2.5 share of the box is."""
    small = np.zeros((1, 8, 8))
    small[0, 1, 6] = 16
    large = bundled.enlarge(small)[0].astype(float)
    rows, columns = np.indices(large.shape)
    centre = (rows * large).sum() / large.sum(), (columns * large).sum() / large.sum()
    assert centre == pytest.approx((4 + 1.5 * 2.5 - 0.5, 4 + 6.5 * 2.5 - 0.5), abs=0.2)


def test_normalisation_is_the_training_splits(splits) -> None:
    pixels = splits["train"].images / 255
    assert SPEC.mean == pytest.approx(pixels.mean(), abs=5e-5)
    assert SPEC.std == pytest.approx(pixels.std(), abs=5e-5)
