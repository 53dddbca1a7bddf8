"""What a picture's one digit is: not the rest of a frame, not dirt, but all parts of a broken one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from pictures import Pixels, encoded, seven
from PIL import Image, ImageDraw

from mnist_cli.errors import DataError
from mnist_cli.vision.colour import with_colour
from mnist_cli.vision.digits import digits_in
from mnist_cli.vision.form import to_form
from mnist_cli.vision.image_files import Picture, decode
from mnist_cli.vision.ink import Ink, find_ink, otsu
from mnist_cli.vision.one_digit import cut_whole
from mnist_cli.vision.pieces import Box
from mnist_cli.vision.segmenting import cut_apart

Point = tuple[float, float]


def sheet(*strokes: list[Point], side: int = 60, width: int = 3) -> Pixels:
    """Light strokes on dark paper; points are (x, y) as shares of the side."""
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        draw.line([(x * (side - 1), y * (side - 1)) for x, y in stroke], fill=255, width=width)
    return np.array(image)


def dotted(*places: tuple[int, int], side: int = 60, size: int = 1) -> Pixels:
    pixels = np.zeros((side, side), np.uint8)
    for top, left in places:
        pixels[top : top + size, left : left + size] = 255
    return pixels


def smudged() -> Pixels:
    """Dirt of uneven height along the lower edge."""
    pixels = np.zeros((60, 60), np.uint8)
    for column, height in enumerate(np.random.default_rng(0).integers(2, 9, 40), start=8):
        pixels[60 - height :, column] = 255
    return pixels


def box_of(pixels: Pixels) -> Box:
    (cut,) = cut_whole(find_ink(pixels.astype(np.float32)))
    return cut.box


LOWER, RIGHT = [(0, 1), (1, 1)], [(1, 0), (1, 1)]
EMPTY = {
    "a line along an edge": sheet(RIGHT),
    "a corner of a frame": sheet(LOWER, RIGHT, width=5),
    "a frame on all sides": sheet([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], width=4),
    "a frame with a margin": sheet([(0.07, 0.07), (0.93, 0.07), (0.93, 0.93), (0.07, 0.93)]),
    "a broken line near the edge": sheet(
        *([(0.08, y), (0.08, y + 0.06)] for y in (0.1, 0.3, 0.5, 0.7)), width=2
    ),
    "one pixel": dotted((30, 30)),
    "a few specks": dotted((11, 40), (30, 22), (45, 50), size=2),
    "a dot on a large page": dotted((150, 200), side=400, size=10),
    "a dot in a corner": dotted((56, 55), size=4),
    "a smudge along an edge": smudged(),
    "a triangle in a corner": np.triu(np.full((60, 60), 255, np.uint8), 48),
}


@pytest.mark.parametrize("pixels", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("light", [True, False], ids=["light on dark", "dark on light"])
def test_nothing_is_written(pixels: Pixels, light: bool) -> None:
    with pytest.raises(DataError, match="nothing is written"):
        box_of(pixels if light else 255 - pixels)


ZERO = [(0.5 + 0.48 * np.cos(t), 0.5 + 0.48 * np.sin(t)) for t in np.linspace(0, 6.283, 40)]
LOW = [(0.4, 0.42), (0.7, 0.42), (0.55, 0.97)]
WRITTEN = {
    "a 0 that touches all edges": (sheet(ZERO, width=4), Box(0, 0, 60, 60)),
    "a thin 1 cut tightly": (np.pad(np.full((40, 3), 255, np.uint8), ((0, 0), (4, 4))), None),
    "a small 7 in a corner": (np.pad(255 - seven(90), ((9, 401), (0, 410))), None),
    "a 1 on a large page": (np.pad(np.full((30, 3), 255, np.uint8), ((20, 550), (25, 572))), None),
    "a 0 in a corner of a page": (
        np.pad(sheet(ZERO, side=30, width=3), ((8, 362), (9, 361))),
        None,
    ),
    "8×8": (sheet([(0.2, 0.1), (0.8, 0.1), (0.4, 0.9)], side=8, width=1), None),
    "a low 7 under a bar": (sheet(LOW, [(0, 0.1), (1, 0.1)], width=5), Box(22, 23, 60, 44)),
    "a 7 in a thick corner": (
        np.maximum(sheet(LOW, width=5), sheet([(0, 0), (1, 0)], [(0, 0), (0, 1)], width=15)),
        Box(22, 23, 60, 44),
    ),
    "a digit of dots": (dotted(*((y, 20) for y in range(10, 50, 3)), size=2), None),
}


@pytest.mark.parametrize(("pixels", "box"), WRITTEN.values(), ids=WRITTEN)
def test_a_digit_is_read(pixels: Pixels, box: Box | None) -> None:
    rows, columns = np.nonzero(pixels > 100)
    exact = box or Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    found = box_of(pixels)
    for side in ("top", "left", "bottom", "right"):
        assert getattr(found, side) == pytest.approx(getattr(exact, side), abs=2)


def test_a_window_around_the_digit_is_no_part_of_it() -> None:
    mask = np.zeros((167, 144), bool)
    mask[:32] = mask[:, :3] = mask[:, -3:] = mask[-3:] = True  # its title bar and border
    mask[45:150, 65:77] = True
    (cut,) = cut_whole(Ink(mask.astype(np.float32), mask, np.zeros_like(mask), 0.0))
    assert cut.box == Box(45, 65, 150, 77)


def test_the_base_of_a_2_in_a_tight_cut_is_no_frame() -> None:
    strokes = [(0.3, 0), (0.6, 0), (0.6, 0.3), (0.2, 0.95)], [(0, 0.95), (1, 0.95)]
    assert box_of(sheet(*strokes, side=28)).bottom >= 27


@pytest.mark.parametrize("line", [70, 110])
def test_the_bar_of_a_7_on_a_pale_line_stays(line: int) -> None:
    pixels = sheet([(0.2, 0.3), (0.8, 0.3), (0.5, 0.9)], side=300, width=24)
    ruled = np.maximum(pixels, np.where(np.arange(300)[:, None] % 60 == 90 % 60, line, 0))
    assert box_of(ruled.astype(np.uint8)).top == pytest.approx(78, abs=3)


def test_levels_that_hardly_differ_have_a_threshold() -> None:
    below = np.float32(0.9)
    above = np.nextafter(below, np.float32(1))
    found = otsu(np.array([below, above], np.float32))
    assert float(below) < found <= float(above)


SEGMENTS = {
    "top": (20, 8, 100, 30),
    "upper left": (4, 24, 26, 92),
    "upper right": (94, 24, 116, 92),
    "lower left": (4, 100, 26, 168),
    "lower right": (94, 100, 116, 168),
    "bottom": (20, 162, 100, 184),
}
"""The bars of a 0 on a display; (left, top, right, bottom)."""


@pytest.mark.parametrize("margin", [0, 8])
def test_the_segments_of_a_display_are_no_frame(margin: int) -> None:
    image = Image.new("L", (121, 193), 0)
    for bar in SEGMENTS.values():
        ImageDraw.Draw(image).rectangle(bar, fill=255)
    pixels = np.pad(np.array(image)[8:185, 4:117], margin)
    assert box_of(pixels) == Box(margin, margin, margin + 177, margin + 113)


TIGHT = {
    "a 2": (
        *([(0.07, 0.25), (0.3, 0.02), (0.65, 0.02), (0.8, 0.2)], [(0.78, 0.33), (0.43, 0.72)]),
        [(0.3, 0.87), (0.15, 0.98), (0.95, 0.98)],
    ),
    "a 7": ([(0.1, 0.02), (0.7, 0.02)], [(0.75, 0.1), (0.55, 0.5)], [(0.5, 0.58), (0.4, 1)]),
}


@pytest.mark.parametrize("strokes", TIGHT.values(), ids=TIGHT)
def test_a_broken_digit_in_a_tight_cut_keeps_all_its_parts(
    strokes: tuple[list[Point], ...],
) -> None:
    pixels = sheet(*strokes, side=28, width=2)
    rows, columns = np.nonzero(pixels)
    box = box_of(pixels)
    assert (box.top, box.bottom) == (rows.min(), rows.max() + 1)
    assert box.left <= columns.min() + 1
    assert box.right >= columns.max()


FRAMES: dict[str, Callable[[Pixels], Pixels]] = {
    "at the edge": lambda dark: framed(dark, 0),
    "with a margin": lambda dark: framed(dark, 8),
    "two sides": lambda dark: framed(dark, 0, sides=2),
    "touching the digit": lambda dark: framed(dark[:158, 20:199], 6),
    "ruled paper": lambda dark: ruled(dark, range(12, 200, 47)),
    "a line through the digit": lambda dark: ruled(dark, [70]),
}


def framed(dark: Pixels, inset: int, sides: int = 4) -> Pixels:
    out, (height, width) = dark.copy(), dark.shape
    inner = [(inset, inset), (width - 1 - inset, inset), (width - 1 - inset, height - 1 - inset)]
    corners = [*inner, (inset, height - 1 - inset), (inset, inset)]
    image = Image.fromarray(out)
    for start, stop in list(pairwise(corners))[:sides]:
        ImageDraw.Draw(image).line([start, stop], fill=50, width=4)
    return np.array(image)


def ruled(dark: Pixels, rows: range | list[int]) -> Pixels:
    out = dark.copy()
    for row in rows:
        out[row : row + 3] = np.minimum(out[row : row + 3], 90)
    return out


@pytest.mark.parametrize("spoil", FRAMES.values(), ids=FRAMES)
def test_frames_and_ruled_lines_are_left_out(spoil: Callable[[Pixels], Pixels]) -> None:
    forms = []
    for pixels in (spoil(seven()), seven()):
        (cut,) = cut_whole(find_ink(pixels.astype(np.float32)))
        forms.append(to_form(cut.levels).ravel())
    assert np.corrcoef(forms)[0, 1] > 0.55


def test_the_bar_of_a_7_in_a_tight_cut_is_no_line() -> None:
    dark = np.pad(seven()[30:150, 90:170], 2, constant_values=240)
    assert box_of(dark).height > 110
    light = sheet([(0, 0.02), (1, 0.02)], [(0.98, 0), (0.4, 1)], width=4)
    assert box_of(light) == Box(0, 0, 60, 60)


def test_a_4_in_a_tight_cut_keeps_its_strokes() -> None:
    light = sheet([(0.6, 1), (0.6, 0), (0, 0.6), (1, 0.6)], width=4)
    found = box_of(light)
    assert (found.width, found.height) == (60, 60)


@pytest.mark.parametrize("margin", [40, 150])
@pytest.mark.parametrize("desk", [30, 110])
def test_a_digit_on_a_sheet_that_lies_on_a_desk(margin: int, desk: int) -> None:
    picture = np.pad(np.pad(seven(), 40, constant_values=240), margin, constant_values=desk)
    (digit,) = digits_in(Picture(picture.astype(np.float32), 1.0), "it")
    (alone,) = digits_in(Picture(seven().astype(np.float32), 1.0), "it")
    assert abs(digit.box.top - alone.box.top - margin - 40) <= 1
    assert abs(digit.box.height - alone.box.height) <= 2


def test_the_hole_of_a_bold_zero_is_no_digit_on_a_sheet() -> None:
    picture = Image.new("L", (200, 200), 240)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((50, 40, 150, 160), 25, fill=20)
    draw.ellipse((82, 80, 118, 120), fill=240)
    draw.polygon([(82, 80), (100, 80), (82, 100)], fill=20)
    draw.polygon([(118, 120), (100, 120), (118, 100)], fill=20)
    (digit,) = digits_in(Picture(np.asarray(picture, np.float32), 1.0), "it")
    assert digit.box.height > 110


INKS = {
    "yellow": ((255, 240, 40), (255, 255, 255)),
    "orange on grey": ((255, 140, 0), (150, 150, 150)),
    "red on green": ((220, 60, 60), (90, 150, 90)),
    "blue on black": ((30, 30, 255), (0, 0, 0)),
}


def in_colour(ink: tuple[int, ...], paper: tuple[int, ...]) -> Image.Image:
    """A dark seven, for grey, and a coloured one beside it."""
    share = (240 - seven().astype(float))[..., None] / 210
    dark = 255 if sum(paper) < 300 else 0
    halves = [paper + share * (np.array(one) - paper) for one in ((dark,) * 3, ink)]
    return Image.fromarray(np.concatenate(halves, axis=1).astype(np.uint8))


@pytest.mark.parametrize(("ink", "paper"), INKS.values(), ids=INKS)
def test_coloured_ink_beside_dark_ink_is_seen(ink: tuple[int, ...], paper: tuple[int, ...]) -> None:
    for kind in ("PNG", "JPEG"):
        (digit,) = digits_in(decode(encoded(in_colour(ink, paper), kind), "it"), "it")
        assert digit.box.left < 100
        assert digit.box.right > 350


@pytest.mark.parametrize("ink", [(20, 20, 20), (190, 30, 40)], ids=["black", "red"])
def test_a_highlighted_digit_is_found(ink: tuple[int, ...]) -> None:
    picture = np.array(in_colour(ink, (250, 250, 250)))
    picture[60:140] = picture[60:140] * np.array([1, 0.95, 0.2])
    read = decode(encoded(picture, "PNG"), "it")
    assert len(cut_apart(with_colour(read.grey, read.colour)).cuts) == 2


@pytest.mark.parametrize("lines", [(150, 150, 150), (60, 60, 60)], ids=["grey", "dark"])
def test_a_coloured_digit_on_squared_paper_stays_ink(lines: tuple[int, int, int]) -> None:
    picture = Image.new("RGB", (200, 200), (250, 250, 248))
    draw = ImageDraw.Draw(picture)
    draw.line([(60, 50), (140, 50), (90, 150)], fill=(255, 230, 40), width=20)
    for place in range(10, 200, 20):
        draw.line((place, 0, place, 200), fill=lines)
        draw.line((0, place, 200, place), fill=lines)
    levels = with_colour(np.asarray(picture.convert("L"), np.float32), np.asarray(picture))
    assert levels[50, 65:140:20].max() <= 150


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_colour_in_an_outline_stays_ink(kind: str) -> None:
    picture = Image.new("RGB", (200, 200), (250, 250, 248))
    ImageDraw.Draw(picture).rectangle((85, 40, 115, 160), (255, 230, 40), (0, 0, 0), 3)
    read = decode(encoded(np.asarray(picture), kind), "it")
    assert with_colour(read.grey, read.colour)[100, 100] < 150


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_pictures_and_faint_colours_stay_as_they_are(kind: str) -> None:
    noise = np.random.default_rng(0).normal(0, 10, (200, 200, 3))
    tinted = (seven()[..., None] * np.array([1, 0.97, 0.9]) + noise).clip(0, 255)
    for colour in (np.stack([seven()] * 3, axis=-1), tinted.astype(np.uint8)):
        picture = decode(encoded(colour, kind), "it")
        assert picture.colour is not None
        seen = with_colour(picture.grey, picture.colour)
        assert np.abs(seen - picture.grey).mean() < 0.1
