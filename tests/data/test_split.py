"""The validation cut, and splits as tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_cli.data.split import Normalisation, Split, cut_validation, validation_size
from mnist_cli.errors import UsageError


def numbered(count: int) -> Split:
    """Images that show their own number."""
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return Split.of("train", images, np.arange(count) % 10)


def numbers(split: Split) -> list[int]:
    return (split.images[:, 0, 0, 0].long() + 256 * split.images[:, 0, 0, 1].long()).tolist()


@given(st.integers(1, 400), st.data(), st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_the_cut_is_disjoint_covers_and_keeps_the_order(
    count: int, data: st.DataObject, seed: int
) -> None:
    val_size = data.draw(st.integers(0, count - 1))
    parts = cut_validation(numbered(count), val_size=val_size, train_size=0, seed=seed)
    val = numbers(parts.val) if parts.val else []
    train = numbers(parts.train)
    assert len(val) == val_size
    assert sorted(train + val) == list(range(count))
    assert train == sorted(train)
    assert val == sorted(val)
    for part in [parts.train] + ([parts.val] if parts.val else []):
        assert part.indices.tolist() == numbers(part)
        assert part.labels.tolist() == [number % 10 for number in numbers(part)]


def test_the_cut_depends_on_the_seed_alone() -> None:
    def cut(seed: int, train_size: int = 0) -> list[int]:
        parts = cut_validation(numbered(300), val_size=60, train_size=train_size, seed=seed)
        assert parts.val is not None
        return numbers(parts.val)

    torch.manual_seed(5)
    first = cut(7)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(5).get_state())
    torch.manual_seed(6)
    assert cut(7) == first
    assert cut(8) != first
    assert cut(7, train_size=20) == first  # a smaller training set is judged by the same images


def test_a_smaller_training_set_is_a_part_of_the_whole_one() -> None:
    whole = cut_validation(numbered(100), val_size=20, train_size=0, seed=3)
    small = cut_validation(numbered(100), val_size=20, train_size=30, seed=3)
    assert len(small.train) == 30
    assert set(numbers(small.train)) < set(numbers(whole.train))


def test_nothing_cut_is_the_split_itself() -> None:
    split = numbered(9)
    parts = cut_validation(split, val_size=0, train_size=9, seed=0)
    assert parts.train is split
    assert parts.val is None


@pytest.mark.parametrize(
    ("val_size", "train_size", "way_out"),
    [
        (10, 0, "Set val_size to 1 or less"),
        (11, 0, "Set val_size to 1 or less"),
        (4, 7, "Set train_size to 6 or less"),
        (0, 11, "Set train_size to 10 or less"),
        (12, 3, "Set val_size to 1 or less"),
    ],
)
def test_more_than_there_is_is_refused(val_size: int, train_size: int, way_out: str) -> None:
    with pytest.raises(UsageError) as caught:
        cut_validation(numbered(10), val_size=val_size, train_size=train_size, seed=0)
    assert "10 training images" in caught.value.message
    assert way_out in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "count", "size"),
    [(None, 60_000, 5000), (None, 50_000, 5000), (None, 1415, 141), (0, 60_000, 0), (7, 9, 7)],
)
def test_left_out_the_validation_set_is_five_thousand_or_a_tenth(
    wanted: int | None, count: int, size: int
) -> None:
    assert validation_size(wanted, count) == size


def test_arrays_that_cannot_be_written_are_copied() -> None:
    images = np.zeros((2, 28, 28), dtype=np.uint8)
    images.flags.writeable = False
    split = Split.of("test", images, np.array([1, 2], dtype=np.uint8))
    split.images.add_(1)
    assert images.max() == 0
    assert split.images.shape == (2, 1, 28, 28)
    assert split.labels.dtype == torch.int64


def test_take_keeps_images_labels_and_numbers_together() -> None:
    taken = numbered(20).take(torch.tensor([7, 3, 3]), "some")
    assert taken.name == "some"
    assert numbers(taken) == taken.indices.tolist() == [7, 3, 3]
    assert numbers(taken.take(torch.tensor([1]))) == [3]
    assert taken.take(torch.tensor([2, 0])).indices.tolist() == [3, 7]


def test_normalisation_is_torchvisions() -> None:
    from torchvision.transforms.functional import normalize

    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = normalize(pixels.float() / 255, [0.1307], [0.3081])
    torch.testing.assert_close(Normalisation(0.1307, 0.3081)(pixels.float()), expected)
