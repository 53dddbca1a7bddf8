"""Augmentation: each amount alone against what it should be, and the bounds of all."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnist_cli.data.augment import Augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int = 0) -> Tensor:
    """(1, 1, 28, 28): noise in the middle, so that nothing leaves the edge, on a background of 0."""
    images = torch.zeros(1, 1, 28, 28)
    images[..., 8:20, 8:20].uniform_(0, 255, generator=generator(seed))
    return images


def forced(monkeypatch: pytest.MonkeyPatch, **amounts: float) -> None:
    """Make the draws come out at these fractions (-1 to 1) of the figures; the others at 0."""
    rows = ["rotate", "shear", "scale", "x", "y"]
    value = torch.tensor([amounts.get(row, 0.0) for row in rows])
    monkeypatch.setattr(
        torch, "rand", lambda size, **_: ((value + 1) / 2).view(5, 1).expand(size).clone()
    )


@pytest.mark.parametrize(
    ("draw", "theirs", "atol"),
    [
        ({"rotate": 1}, {"angle": -90.0}, 2e-2),
        ({"rotate": -0.5}, {"angle": 45.0}, 0.05),
        ({"scale": 1}, {"scale": 1.2}, 0.05),
        ({"scale": -1}, {"scale": 0.8}, 0.05),
        ({"shear": 1}, {"shear": [20.0, 0.0]}, 0.05),
        ({"shear": -1}, {"shear": [-20.0, 0.0]}, 0.05),
        ({"x": 1, "y": -1}, {"translate": [-4, 4]}, 2e-3),
        ({"x": -0.5, "y": 0.25}, {"translate": [2, -1]}, 2e-3),
    ],
)
def test_each_amount_alone_is_torchvisions_affine(
    monkeypatch: pytest.MonkeyPatch, draw: dict[str, float], theirs: dict[str, Any], atol: float
) -> None:
    """torchvision turns clockwise and shears by the angle, both of the picture.

    The map is from output to input, so a positive shift takes from the right.
    """
    forced(monkeypatch, **draw)
    ours = Augmentation(shift=4, rotate=90, scale=0.2, shear=20)(picture(), generator())
    none = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    expected = TF.affine(
        picture(), **{**none, **theirs}, interpolation=TF.InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


AMOUNTS = st.builds(
    Augmentation,
    shift=st.floats(0, 28),
    rotate=st.floats(0, 180),
    scale=st.floats(0, 0.9),
    shear=st.floats(0, 80),
)


@given(AMOUNTS, st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_drawn_amounts_stay_within_their_figures(amounts: Augmentation, seed: int) -> None:
    """Takes the matrices apart again: rotation, shear and scale by QR, shift as it stands."""
    matrices = amounts.matrices(50, 28, generator(seed)).double()
    linear, shift = matrices[..., :2], matrices[..., 2]
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    zoom = 1 / linear[:, :, 0].norm(dim=1)
    back = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    upper = back.transpose(1, 2) @ linear * zoom.view(-1, 1, 1)
    assert (upper[:, 1, 1] - 1).abs().max() < 1e-4  # a shear keeps areas
    assert angle.abs().max() <= math.radians(amounts.rotate) + 1e-5
    assert (zoom - 1).abs().max() <= amounts.scale + 1e-5
    assert upper[:, 0, 1].abs().max() <= math.tan(math.radians(amounts.shear)) * (1 + 1e-4) + 1e-5
    assert (shift.abs().max() * 14) <= amounts.shift + 1e-4


def test_amounts_are_drawn_evenly_and_apart() -> None:
    """Mean 0, the variance of an even distribution, and no two of the five together."""
    amounts = Augmentation(shift=14, rotate=60, scale=0.5, shear=30)
    matrices = amounts.matrices(20_000, 28, generator()).double()
    angle = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]) / math.radians(60)
    zoom = (1 / matrices[:, :, 0].norm(dim=1) - 1) / 0.5
    drawn = torch.stack([angle, zoom, matrices[:, 0, 2], matrices[:, 1, 2]])
    assert drawn.mean(1).abs().max() < 0.02
    assert (torch.cov(drawn) - torch.eye(4) / 3).abs().max() < 0.01


def test_nothing_asked_for_is_nothing_done() -> None:
    images, source = torch.rand(3, 1, 28, 28), generator(4)
    before = source.get_state()
    assert Augmentation()(images, source) is images
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("amount", ["shift", "rotate", "scale", "shear", "erase"])
def test_each_amount_works_without_the_others(amount: str) -> None:
    figure = 5.0 if amount in ("shift", "rotate", "shear") else 1.0
    changed = Augmentation(**{amount: figure})(picture(), generator(1))
    assert not torch.equal(changed, picture())


def test_draws_come_from_its_own_generator_alone() -> None:
    everything = Augmentation(shift=2, rotate=10, scale=0.1, shear=5, erase=0.5)
    images = torch.rand(8, 1, 28, 28)
    before = torch.get_rng_state()
    one = everything(images.clone(), generator(9))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(everything(images.clone(), generator(9)), one)
    assert not torch.equal(everything(images.clone(), generator(10)), one)


# --- erasing


def erased(probability: float, count: int = 3000, seed: int = 0) -> Tensor:
    """(count, 28, 28), bool: what was blanked of images that are one everywhere."""
    images = Augmentation(erase=probability)(torch.ones(count, 1, 28, 28), generator(seed))
    assert set(images.unique().tolist()) <= {0.0, 1.0}
    return images.squeeze(1) == 0


@pytest.mark.parametrize("probability", [0.25, 0.5, 1.0])
def test_as_many_images_are_erased_as_asked(probability: float) -> None:
    share = erased(probability).flatten(1).any(1).double().mean().item()
    deviation = math.sqrt(probability * (1 - probability) / 3000)
    assert abs(share - probability) <= 5 * deviation


def test_what_is_erased_is_one_rectangle_within_the_papers_bounds() -> None:
    """2 to 33 % of the area, aspect 0.3 to 3.3 (Zhong et al. 2017), give or take a pixel a side."""
    for mask in erased(1.0):
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows.unsqueeze(1) & columns.unsqueeze(0))
        tall, wide = int(rows.sum()), int(columns.sum())
        assert tall == int(rows.nonzero().max() - rows.nonzero().min()) + 1
        assert wide == int(columns.nonzero().max() - columns.nonzero().min()) + 1
        assert (tall + 1) * (wide + 1) >= 0.02 * 784
        assert (tall - 1) * (wide - 1) <= 0.33 * 784
        assert (tall - 1) / (wide + 1) <= 3.3
        assert (wide - 1) / (tall + 1) <= 3.4


def test_every_pixel_can_be_erased_and_no_corner_is_preferred() -> None:
    often = erased(1.0).double().mean(0)
    assert often.min() > 0
    flips = torch.stack([often, often.flip(0), often.flip(1), often.T])
    assert (flips - often).abs().max() < 0.04  # four deviations at 3,000 draws
