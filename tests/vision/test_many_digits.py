"""``predict --segment``: lines, dirt and edges are no digits, and every digit is found in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw
from scipy import ndimage

from mnist_cli.errors import DataError
from mnist_cli.vision import segmenting
from mnist_cli.vision.form import to_form
from mnist_cli.vision.pieces import Box
from mnist_cli.vision.segmenting import Page, cut_apart, in_reading_order

STROKES = {
    1: [(0.3, 0), (0.3, 1)],
    2: [(0, 0.2), (0.2, 0), (0.5, 0.1), (0.5, 0.35), (0, 1), (0.6, 1)],
    4: [(0.42, 1), (0.42, 0), (0, 0.65), (0.6, 0.65)],
    7: [(0, 0), (0.6, 0), (0.25, 1)],
}
INK, PAPER = 30.0, 240.0


class Drawn:
    """Dark strokes on a light page, and the boxes of the digits in the order of writing."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("L", (width, height), int(PAPER))
        self.draw = ImageDraw.Draw(self.image)
        self.digits: list[tuple[int, float, float, float]] = []

    def digit(self, value: int, left: float, top: float, size: float, pen: int = 8) -> None:
        points = [(left + size * x, top + size * y) for x, y in STROKES[value]]
        self.draw.line(points, fill=int(INK), width=pen, joint="curve")
        self.digits.append((value, left, top, size))

    def row(self, values: list[int], left: float, top: float, size: float, step: float) -> None:
        for place, value in enumerate(values):
            self.digit(value, left + step * place, top, size)

    def line(self, *ends: float, level: int = 40, width: int = 3) -> None:
        """A printed line: ink on it is no paler."""
        printed = Image.new("L", self.image.size, 255)
        ImageDraw.Draw(printed).line(ends, fill=level, width=width)
        self.image.paste(ImageChops.darker(self.image, printed))

    def grey(self) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return np.array(self.image, dtype=np.float32)


def alone(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    drawn = Drawn(200, 200)
    drawn.digit(value, 70, 50, 100)
    (cut,) = cut_apart(drawn.grey()).cuts
    return to_form(cut.levels)


def values(page: Page) -> list[int]:
    """What the digits are: the drawn one that each is most like."""
    known = {value: alone(value).ravel().astype(float) for value in STROKES}
    found = []
    for cut in page.cuts:
        form = to_form(cut.levels).ravel().astype(float)
        likeness = {one: np.corrcoef(form, other)[0, 1] for one, other in known.items()}
        found.append(max(likeness, key=lambda one: likeness[one]))
    return found


def ruled(drawn: Drawn, level: int, step: int = 100, both: bool = False) -> None:
    for y in range(60, drawn.image.height, step):
        drawn.line(0, y, drawn.image.width, y, level=level)
    for x in range(25, drawn.image.width, step) if both else ():
        drawn.line(x, 0, x, drawn.image.height, level=level)


def table(drawn: Drawn, cell: int, rows: int, columns: int) -> None:
    for row in range(rows + 1):
        drawn.line(20, 20 + cell * row, 20 + cell * columns, 20 + cell * row)
    for column in range(columns + 1):
        drawn.line(20 + cell * column, 20, 20 + cell * column, 20 + cell * rows)


def edge() -> Drawn:
    drawn = Drawn(515, 160)
    drawn.row([7, 4, 2], 40, 30, 100, 130)
    drawn.digit(4, 459, 30, 100)
    return drawn


def lined(level: int) -> Drawn:
    drawn = Drawn(520, 260)
    drawn.row([7, 4, 2, 1], 40, 60, 100, 120)
    ruled(drawn, level)
    return drawn


def squared() -> Drawn:
    drawn = Drawn(520, 260)
    drawn.row([7, 4, 2, 1], 45, 82, 100, 120)
    ruled(drawn, 60, step=45, both=True)
    return drawn


def cells(size: float) -> Drawn:
    drawn = Drawn(440, 300)
    for row, written in enumerate(([7, 4, 2], [1, 7, 4])):
        drawn.row(written, 60, 30 + 130 * row + (100 - size) / 2, size, 130)
    table(drawn, 130, 2, 3)
    return drawn


def boxes(gap: int) -> Drawn:
    drawn = Drawn(640, 320)
    for row in range(2):
        for place, value in enumerate((7, 4, 2, 1, 2)):
            left, top = 40 + (90 + gap) * place, 40 + 130 * row
            drawn.draw.rectangle((left, top, left + 90, top + 100), outline=40, width=3)
            drawn.digit(value, left + 25, top + 20, 60)
    return drawn


def dirty() -> Drawn:
    drawn = Drawn(520, 300)
    drawn.row([7, 4, 2], 60, 120, 100, 120)
    drawn.draw.ellipse([480, 40, 492, 52], fill=0)
    drawn.draw.ellipse([440, 240, 490, 290], fill=0)
    drawn.draw.line((0, 250, 60, 262), fill=0, width=10)
    return drawn


def rows() -> Drawn:
    drawn = Drawn(900, 520)
    for row, written in enumerate(([1, 2, 4, 7], [7, 7, 1, 2], [4, 2, 2, 1])):
        drawn.row(written, 60, 60 + 150 * row, 90, 210)
    return drawn


def one_blot() -> Drawn:
    """A mark five times as high as the digits, which no median of three would survive."""
    drawn = Drawn(900, 500)
    drawn.row([7, 4, 2], 60, 200, 70, 110)
    drawn.draw.rectangle((500, 60, 840, 420), fill=0)
    return drawn


def punched() -> Drawn:
    drawn = Drawn(1000, 800)
    for row in range(3):
        drawn.row([7, 4, 2, 1], 250, 60 + 250 * row, 90, 180)
        drawn.draw.ellipse((60, 60 + 250 * row, 145, 145 + 250 * row), fill=20)
    return drawn


PAGES: dict[str, tuple[Callable[[], Drawn], float]] = {
    "the last digit touches the edge": (edge, 0),
    "ruled paper": (lambda: lined(60), 0),
    "pale ruled paper": (lambda: lined(190), 0),
    "ruled paper, turned": (lambda: lined(60), 2),
    "squared paper": (squared, 0),
    "table": (lambda: cells(70), 0),
    "table, turned": (lambda: cells(70), -2),
    "table, digits touch its lines": (lambda: cells(104), 0),
    "separate boxes": (lambda: boxes(20), 0),
    "separate boxes, turned": (lambda: boxes(20), 1.5),
    "row of boxes": (lambda: boxes(0), 0),
    "dirt, a blot and the edge of a desk": (dirty, 0),
    "three rows": (rows, 0),
    "three rows, turned": (rows, 3),
    "a large mark": (one_blot, 0),
    "punched holes": (punched, 0),
}


@pytest.mark.parametrize("box", [(0, 2, 5, 6), (1, 0, 5, 6), (1, 2, 9, 6), (1, 2, 5, 8)])
def test_a_box_at_any_edge_of_the_picture(box: tuple[int, int, int, int]) -> None:
    assert Box(*box).at_edge((9, 8))
    assert not Box(1, 1, 8, 7).at_edge((9, 8))


@pytest.mark.parametrize(("draw", "degrees"), PAGES.values(), ids=PAGES)
def test_the_digits_are_found_in_reading_order(draw: Callable[[], Drawn], degrees: float) -> None:
    drawn = draw()
    grey = drawn.grey()
    if degrees:
        grey = ndimage.rotate(grey, degrees, reshape=False, order=1, cval=PAPER)
    assert values(cut_apart(grey)) == [value for value, *_ in drawn.digits]


def shaded(grey: np.ndarray) -> np.ndarray:
    return grey * np.linspace(0.35, 1, grey.shape[1], dtype=np.float32)


def shadow(grey: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : grey.shape[0] * 1j, 0 : 1 : grey.shape[1] * 1j]
    return np.where(x + 0.4 * y > 0.7, 0.5 * grey, grey).astype(np.float32)


def through(grey: np.ndarray) -> np.ndarray:
    """What is written on the other side."""
    other = PAPER - 0.2 * (PAPER - np.roll(grey[:, ::-1], 60, axis=0))
    return np.minimum(grey, other).astype(np.float32)


def on_desk(grey: np.ndarray) -> np.ndarray:
    desk = np.random.default_rng(0).normal(45, 6, (grey.shape[0] + 300, grey.shape[1] + 360))
    desk[120:-180, 160:-200] = grey
    return desk.astype(np.float32)


@pytest.mark.parametrize("spoil", [shaded, shadow, through, on_desk])
def test_light_and_surroundings_of_a_page_change_nothing(
    spoil: Callable[[np.ndarray], np.ndarray],
) -> None:
    drawn = rows()
    assert values(cut_apart(spoil(drawn.grey()))) == [value for value, *_ in drawn.digits]


def test_wide_pens_keep_the_wide_window() -> None:
    drawn = Drawn(700, 260)
    for place, value in enumerate((7, 4, 2)):
        drawn.digit(value, 60 + 220 * place, 40, 180, pen=34)
    assert values(cut_apart(drawn.grey())) == [7, 4, 2]
    ones = Drawn(900, 320)
    for place in range(6):  # narrower and wider than the narrow window
        ones.digit(1, 70 + 130 * place, 110, 66, pen=23 + 4 * (place % 2))
    assert len(cut_apart(ones.grey()).cuts) == 6


def test_what_is_left_out_is_named_with_its_box() -> None:
    page = cut_apart(dirty().grey())
    reasons = {one.why: one.box for one in page.left_out}
    low = reasons["lower than 0.4 of the digits' height"]
    assert abs(low.left - 480) <= 3
    assert abs(low.bottom - 53) <= 3
    assert any("edge" in why for why in reasons)
    lines = [one for one in cut_apart(cells(70).grey()).left_out if one.why == "a line"]
    assert len(lines) == 7


def test_a_page_without_digits_says_what_it_has() -> None:
    drawn = Drawn(400, 300)
    drawn.line(0, 295, 400, 290, width=9)
    drawn.line(0, 150, 400, 150)
    with pytest.raises(DataError, match="no digits found; left out"):
        cut_apart(drawn.grey())


def test_a_form_of_a_thousand_cells_is_read_in_order() -> None:
    drawn = Drawn(1000, 1400)
    for row in range(40):
        for column in range(25):
            drawn.digit((7, 4, 2, 1)[(row + column) % 4], 25 + 38 * column, 24 + 33 * row, 20, 3)
    for row in range(41):
        drawn.line(15, 18 + 33 * row, 965, 18 + 33 * row, width=1)
    for column in range(26):
        drawn.line(15 + 38 * column, 18, 15 + 38 * column, 1338, width=1)
    grey = ndimage.rotate(drawn.grey(), 0.5, reshape=False, order=1, cval=PAPER)
    found = values(cut_apart(grey))
    assert len(found) == 1000
    wrong = np.count_nonzero(np.array(found) != [value for value, *_ in drawn.digits])
    assert wrong < 20


def test_more_digits_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenting, "MOST_DIGITS", 10)
    with pytest.raises(DataError, match="12 pieces of ink are too many"):
        cut_apart(rows().grey())


def test_rows_that_slope_are_read_row_by_row() -> None:
    boxes = [
        Box(round(100 * row + 0.07 * x), x, round(100 * row + 0.07 * x) + 50, x + 30)
        for row in range(4)
        for x in range(0, 2000, 90)
    ]
    mixed = np.random.default_rng(0).permutation(len(boxes))
    order = in_reading_order([boxes[place] for place in mixed])
    assert [int(mixed[place]) for place in order] == list(range(len(boxes)))
