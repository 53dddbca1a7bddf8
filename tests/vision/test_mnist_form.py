"""Ink is found whatever the light, and comes into the form that MNIST's own images have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import Pixels, half_shadow, seven, shaded, slanting_shadow
from PIL import Image
from scipy import ndimage

from mnist_cli import catalogue
from mnist_cli.data import bundled, store
from mnist_cli.errors import DataError
from mnist_cli.vision import form
from mnist_cli.vision.form import stroke_width, to_form
from mnist_cli.vision.ink import find_ink, is_light_on_dark
from mnist_cli.vision.one_digit import cut_whole
from mnist_cli.vision.segmenting import cut_apart


def form_of(pixels: Pixels) -> Pixels:
    cuts = cut_whole(find_ink(pixels.astype(np.float32)))
    return to_form(cuts[0].levels)


def likeness(first: Pixels, second: Pixels) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("width", [3, 8, 16, 32])
def test_the_recipe_of_mnists_authors(width: int) -> None:
    """20 pixels on the longer side, its aspect kept, the centre of mass at pixel 14, 0 elsewhere."""
    form = form_of(seven(width=width))
    assert (form.shape, form.dtype) == ((28, 28), np.uint8)
    rows, columns = np.nonzero(form)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    y, x = (float((axis * form[rows, columns]).sum() / form.sum()) for axis in (rows, columns))
    assert 13.5 <= y <= 14.5
    assert 13.5 <= x <= 14.5
    assert form.max() > 200


def test_a_thin_stroke_is_widened_to_what_a_pen_of_mnist_leaves() -> None:
    hairline = form_of(seven(side=400, width=2)).astype(np.float32) / 255
    assert 1.5 < stroke_width(np.kron(hairline, np.ones((8, 8), np.float32))) / 8 < 3


def test_a_marker_is_thinned_to_what_a_pen_of_mnist_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then it is more like what a pen has written."""
    written = form_of(seven(side=400, width=30))
    thinned = form_of(seven(side=400, width=80))
    levels = np.kron(thinned.astype(np.float32) / 255, np.ones((8, 8), np.float32))
    assert 3 < stroke_width(levels) / 8 < 5
    monkeypatch.setattr(form, "THICKEST", 28)
    left = form_of(seven(side=400, width=80))
    assert likeness(thinned, written) > likeness(left, written) + 0.05


def test_a_line_of_one_pixel_in_hundreds_is_a_line_still() -> None:
    levels = np.zeros((400, 400), np.float32)
    levels[np.arange(40, 360), np.arange(40, 360) // 3] = 1
    thin = to_form(levels)
    thick = to_form(ndimage.binary_dilation(levels > 0, iterations=20).astype(np.float32))
    assert likeness(thin, thick) > 0.9
    assert thin.max() > 200


def test_what_is_thick_all_over_keeps_its_aspect_and_is_not_thinned_to_nothing() -> None:
    bar = to_form(np.ones((80, 20), np.float32))
    rows, columns = np.nonzero(bar)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 5)
    assert bar.max() > 200


@pytest.mark.parametrize("width", [5, 9, 20])
def test_the_width_of_a_bar_is_found(width: int) -> None:
    bar = np.zeros((200, 60), np.float32)
    bar[:, 20 : 20 + width] = 1
    assert stroke_width(bar) == pytest.approx(width, abs=1.2)


def elsewhere(pixels: Pixels) -> Pixels:
    room = np.full((500, 700), 240, np.uint8)
    room[20:220, 480:680] = pixels
    return room


def dirty(pixels: Pixels) -> Pixels:
    """With a speck, and the edge of the table."""
    pixels[185:188, 30:33] = 20
    pixels[:, :12] = 60
    return pixels


SPOIL: dict[str, Callable[[Pixels], Pixels]] = {
    "shade": shaded,
    "half a shadow": half_shadow,
    "a slanting shadow": slanting_shadow,
    "inverted": lambda dark: 255 - dark,
    "elsewhere": elsewhere,
    "larger": lambda dark: np.kron(dark, np.ones((3, 3), np.uint8)),
    "dirt": dirty,
}


@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
def test_light_colour_place_size_and_dirt_change_little(spoil: Callable[[Pixels], Pixels]) -> None:
    assert likeness(form_of(spoil(seven())), form_of(seven())) > 0.97


def test_both_ways_round_of_the_bundled_digits_are_told_apart() -> None:
    digits = bundled.read("test").images[:100].astype(np.float32)
    assert all(is_light_on_dark(one) for one in digits)
    assert not any(is_light_on_dark(255 - one) for one in digits)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((100, 100), 128, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.add.outer(np.arange(120), np.arange(120)).astype(np.uint8),
        shaded(np.full((300, 300), 200, np.uint8)),
    ],
    ids=["grey", "one pixel", "gradient", "noise and shade"],
)
def test_blank_pictures_are_said_to_be(pixels: Pixels) -> None:
    with pytest.raises(DataError, match="nothing is written"):
        find_ink(pixels.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 2), (3, 5)])
def test_odd_shapes_are_no_crash(shape: tuple[int, int]) -> None:
    pixels = np.zeros(shape, np.uint8)
    pixels.flat[0] = 255
    with contextlib.suppress(DataError):
        assert form_of(pixels).shape == (28, 28)


def test_digits_are_cut_apart_in_reading_order() -> None:
    page = np.full((420, 700), 240, np.uint8)
    places = [(10, 5), (30, 240), (60, 470), (210, 60), (215, 330)]
    for top, left in places:
        page[top : top + 200, left : left + 200] = seven()
    cuts = cut_apart(shaded(page).astype(np.float32)).cuts
    first = cut_whole(find_ink(seven().astype(np.float32)))[0].box
    offset = np.array([first.top, first.left])
    found = np.array([(one.box.top, one.box.left) for one in cuts])
    assert len(cuts) == len(places)
    assert abs(found - offset - np.array(places)).max() <= 4
    for one in cuts:
        assert likeness(to_form(one.levels), form_of(seven())) > 0.95


def test_a_bar_above_belongs_to_its_digit() -> None:
    five = np.full((200, 400), 240, np.uint8)
    five[30:42, 60:120] = 20  # the bar, not joined
    five[52:160, 60:72] = 20
    five[148:160, 60:120] = 20
    five[40:160, 250:262] = 20  # a one beside it
    assert len(cut_apart(five.astype(np.float32)).cuts) == 2


@pytest.mark.mnist
def test_mnists_own_images_stay_what_they_are(mnist_dir: Path) -> None:
    """Enlarged, dark on light: what comes out is nearly what its authors made.

    Measured: 0.95. Of a pixel's shift alone the correlation falls to 0.8.
    """
    images = store.read(catalogue.get("mnist"), "test", mnist_dir).images[:100]
    alike = []
    for image in images:
        large = Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC)
        alike.append(likeness(form_of(np.asarray(large)), image))
    assert np.mean(alike) > 0.93
