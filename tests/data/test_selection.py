"""Hard training images: which are preferred, how often, and the same ones on every machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mnist_cli.data import bundled, selection
from mnist_cli.data.selection import choose
from mnist_cli.data.split import Split, TrainVal, cut_validation

MISLABELLED = 40


@pytest.fixture(scope="module")
def digits() -> Split:
    """The bundled digits; the first ones have the label of another class."""
    arrays = bundled.read("train")
    labels = arrays.labels.copy()
    labels[:MISLABELLED] = (labels[:MISLABELLED] + 1) % 10
    return Split.of("train", arrays.images, labels)


def cut(split: Split, prefer_hard: float, *, val_size: int = 0, seed: int = 0) -> TrainVal:
    return cut_validation(
        split, val_size=val_size, train_size=300, seed=seed, prefer_hard=prefer_hard
    )


def test_images_with_a_wrong_label_are_hard(digits: Split) -> None:
    """At random, a sixth of them would be among the 300 chosen."""
    chosen = cut(digits, 8.0)
    assert int((chosen.train.indices < MISLABELLED).sum()) > 0.8 * MISLABELLED
    alike = cut(digits, 0.0)
    assert int((alike.train.indices < MISLABELLED).sum()) < 0.5 * MISLABELLED
    assert chosen.seconds > 0 == alike.seconds


def test_the_choice_is_of_distinct_images_in_order_and_follows_the_seed(digits: Split) -> None:
    first, again, other = (cut(digits, 5.0, val_size=200, seed=seed) for seed in (1, 1, 2))
    indices = first.train.indices
    assert indices.tolist() == sorted(set(indices.tolist()))
    assert len(indices) == 300
    assert torch.equal(indices, again.train.indices)
    assert not torch.equal(indices, other.train.indices)
    assert first.val is not None
    assert not np.isin(indices.numpy(), first.val.indices.numpy()).any()
    assert torch.equal(first.train.images, digits.images[indices])
    assert torch.equal(first.train.labels, digits.labels[indices])


def test_an_image_is_drawn_as_often_as_its_margin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frequency of the first draw against exp(-prefer_hard · margin), within 5 deviations."""
    margins = torch.tensor([-0.5, 0.0, 0.3, 1.0])
    monkeypatch.setattr(selection, "_margins", lambda *_: margins)
    images, labels, draws = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4), 4000
    drawn = [int(choose(images, labels, 1, prefer_hard=2.0, seed=seed)) for seed in range(draws)]
    wanted = torch.softmax(-2.0 * margins.double(), 0)
    deviation = (wanted * (1 - wanted) / draws).sqrt()
    found = torch.tensor(drawn).bincount(minlength=4) / draws
    assert bool(((found - wanted).abs() < 5 * deviation).all())


@pytest.mark.parametrize("pixels", ["digits", "black or white"])
def test_the_choice_depends_neither_on_bf16_nor_on_threads(
    pixels: str, digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sum is exact, so its order and its precision do not matter; bf16 rounds units above 256."""
    images, labels = digits.images, digits.labels
    if pixels != "digits":
        halves = (torch.arange(28) < 14) == (torch.arange(1200) % 2 == 0)[:, None]
        noise = torch.rand(1200, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.1
        images = (halves[:, None, None, :] ^ noise).byte() * 255
        labels = torch.arange(1200) % 2
    found = []
    before = torch.get_num_threads()
    for bf16, threads in ((True, 1), (False, 1), (True, 3), (False, 3)):
        monkeypatch.setattr(selection, "computes_bf16", lambda _device, bf16=bf16: bf16)
        torch.set_num_threads(threads)
        try:
            found.append(selection._margins(images, labels, torch.Generator().manual_seed(0)))
        finally:
            torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("pixels", ["black", "noise"])
def test_few_or_equal_images_can_be_chosen_from(count: int, pixels: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    images = images * (pixels == "noise")
    for labels in (torch.zeros(count, dtype=torch.int64), torch.arange(count) % 7):
        chosen = choose(images, labels, count // 2, prefer_hard=5.0, seed=0)
        assert len(set(chosen.tolist())) == count // 2
