"""Tries `mnist predict --segment` on drawn pages: ``python docs/page_trials.py CHECKPOINT``.

Prints the table of docs/predict.md. A page holds MNIST's test digits in random order, on paper
with lines, boxes, shadows and dirt. The errors are the edit distance of the digits read from the
digits written: the least number of digits to insert, omit or replace.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from predict_trials import (
    FINE,
    Floats,
    Random,
    closely,
    enlarged,
    grain,
    hand_shadow,
    on_paper,
    pen,
    soft_shadow,
)
from scipy import ndimage

from mnist_cli import catalogue
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.data import store
from mnist_cli.devices.device import resolve_device
from mnist_cli.errors import DataError
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.runs.directory import find_checkpoint
from mnist_cli.vision.digits import digits_in
from mnist_cli.vision.image_files import decode


@dataclass(frozen=True)
class Digits:
    """MNIST's test set, and the random choices of a page."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    random: Random

    def one(self) -> tuple[Floats, int]:
        """The ink of a digit without paper around it, and what it is."""
        place = int(self.random.integers(len(self.labels)))
        return closely(enlarged(self.images[place], margin=0)), int(self.labels[place])


@dataclass(eq=False)
class Sheet:
    """The ink on a page (H, W), 0 to 1, and the digits written so far."""

    ink: Floats
    text: str = ""

    def write(self, digit: Floats, label: int, middle: float, baseline: float, size: float) -> None:
        """Add a digit; ``size`` is the height of MNIST's 20 pixels."""
        height, width = (max(1, round(side * size / (20 * FINE))) for side in digit.shape)
        small = np.asarray(
            Image.fromarray((255 * digit).astype(np.uint8)).resize((width, height)), float
        )
        top, left = round(baseline) - height, round(middle - width / 2)
        y, x = max(0, -top), max(0, -left)
        part = self.ink[max(0, top) : top + height, max(0, left) : left + width]
        part[:] = np.maximum(part, small[y : y + part.shape[0], x : x + part.shape[1]] / 255)
        self.text += str(label)


def rows(
    digits: Digits, shape: tuple[int, int], starts: list[float], count: int, size: float
) -> Sheet:
    """Rows of digits with uneven gaps, standing about on the lines ``starts``."""
    sheet = Sheet(np.zeros(shape))
    step = shape[1] / (count + 1)
    for baseline in starts:
        for place in range(count):
            ink, label = digits.one()
            x = step * (place + 1 + digits.random.uniform(-0.08, 0.08))
            y = baseline + size * digits.random.uniform(-0.06, 0.06)
            sheet.write(ink, label, x, y, size * digits.random.uniform(0.9, 1.1))
    return sheet


def line(ink: Floats, ends: tuple[float, float, float, float], width: int, dark: float) -> None:
    """Draw a straight line from (x, y) to (x, y)."""
    image = Image.new("L", ink.shape[::-1])
    ImageDraw.Draw(image).line(ends, fill=255, width=width)
    np.maximum(ink, dark * np.asarray(image) / 255, out=ink)


def ruled(ink: Floats, step: float, first: float, width: int, dark: float, both: bool) -> None:
    """Lines across the page, and down it too for squared paper."""
    height, breadth = ink.shape
    for y in np.arange(first, height, step):
        line(ink, (0, y, breadth, y), width, dark)
    if both:
        for x in np.arange(step / 3, breadth, step):
            line(ink, (x, 0, x, height), width, dark)


def skewed(ink: Floats, degrees: float) -> Floats:
    """The page turned about its middle."""
    return np.asarray(ndimage.rotate(ink, degrees, reshape=False, order=1)).clip(0, 1)


def plain(digits: Digits) -> tuple[Floats, str]:
    """Four rows of eight digits."""
    sheet = rows(digits, (700, 900), [150, 300, 450, 600], 8, 70)
    return sheet.ink, sheet.text


def marker(digits: Digits) -> tuple[Floats, str]:
    """A few digits of a wide pen that fill the picture."""
    sheet = Sheet(np.zeros((300, 900)))
    for place in range(4):
        ink, label = digits.one()
        sheet.write(pen(np.pad(ink, 30), 2.0), label, 130 + 210 * place, 290, 220)
    return sheet.ink, sheet.text


def at_edge(digits: Digits) -> tuple[Floats, str]:
    """A row whose last digit touches the picture's edge."""
    sheet = Sheet(np.zeros((180, 640)))
    for place in range(6):
        ink, label = digits.one()
        width = ink.shape[1] * 90 / (20 * FINE)
        middle = 60 + 100 * place if place < 5 else 640 - width / 2 + 3
        sheet.write(ink, label, middle, 140, 90)
    return sheet.ink, sheet.text


def ruled_page(
    dark: float, *, degrees: float = 0, both: bool = False
) -> Callable[[Digits], tuple[Floats, str]]:
    """Digits on ruled or squared paper; some touch the lines or cross them."""

    def page(digits: Digits) -> tuple[Floats, str]:
        sheet = rows(digits, (700, 900), [163, 313, 463, 613], 8, 75)
        lines = np.zeros_like(sheet.ink)
        ruled(lines, 37.5 if both else 75, 12.5, 3 if dark > 0.5 else 2, dark, both)
        return skewed(np.maximum(sheet.ink, lines), degrees), sheet.text

    return page


def table(
    size: float, *, degrees: float = 0, width: int = 3, grid: tuple[int, int] = (5, 7)
) -> Callable[[Digits], tuple[Floats, str]]:
    """A digit in each cell of a table; large ones touch its lines."""

    def page(digits: Digits) -> tuple[Floats, str]:
        cell = 90
        sheet = Sheet(np.zeros((cell * grid[0] + 100, cell * grid[1] + 100)))
        for row in range(grid[0]):
            for column in range(grid[1]):
                ink, label = digits.one()
                x = 50 + cell * (column + 0.5) + digits.random.uniform(-6, 6)
                y = 50 + cell * (row + 0.5) + size / 2 + digits.random.uniform(-6, 6)
                sheet.write(ink, label, x, y, size)
        for row in range(grid[0] + 1):
            y = 50 + cell * row
            line(sheet.ink, (50, y, 50 + cell * grid[1], y), width, 0.9)
        for column in range(grid[1] + 1):
            x = 50 + cell * column
            line(sheet.ink, (x, 50, x, 50 + cell * grid[0]), width, 0.9)
        return skewed(sheet.ink, degrees), sheet.text

    return page


def boxes(gap: int, *, degrees: float = 0) -> Callable[[Digits], tuple[Floats, str]]:
    """Boxes for a digit each, as on forms; without a gap, a row of boxes."""

    def page(digits: Digits) -> tuple[Floats, str]:
        sheet = Sheet(np.zeros((460, 1000)))
        for row in range(3):
            for place in range(9):
                ink, label = digits.one()
                left, top = 60 + (80 + gap) * place, 60 + 130 * row
                x = left + 40 + digits.random.uniform(-8, 8)
                sheet.write(ink, label, x, top + 78 + digits.random.uniform(-5, 5), 58)
                for ends in (
                    (left, top, left + 80, top),
                    (left, top + 90, left + 80, top + 90),
                    (left, top, left, top + 90),
                    (left + 80, top, left + 80, top + 90),
                ):
                    line(sheet.ink, ends, 3, 0.9)
        return skewed(sheet.ink, degrees), sheet.text

    return page


def specks(digits: Digits) -> tuple[Floats, str]:
    """Rows with dirt of many sizes, and a long stroke at the edge."""
    sheet = rows(digits, (500, 900), [170, 370], 7, 80)
    image = Image.new("L", sheet.ink.shape[::-1])
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = digits.random.uniform(0, 900), digits.random.choice([20, 220, 450])
        radius = digits.random.uniform(1, 11)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    draw.line((0, 490, 900, 480), fill=255, width=30)
    return np.maximum(sheet.ink, np.asarray(image) / 255), sheet.text


def heading(digits: Digits) -> tuple[Floats, str]:
    """Rows below a line of letters, which are no digits."""
    sheet = rows(digits, (600, 900), [300, 400, 500], 8, 60)
    image = Image.new("L", sheet.ink.shape[::-1])
    ImageDraw.Draw(image).text(
        (80, 60), "Meter readings", fill=255, font=ImageFont.load_default(60)
    )
    return np.maximum(sheet.ink, np.asarray(image) / 255), sheet.text


def form(digits: Digits) -> tuple[Floats, str]:
    """A form of a thousand cells, slightly skewed."""
    sheet = Sheet(np.zeros((1500, 1100)))
    for row in range(40):
        for column in range(25):
            ink, label = digits.one()
            sheet.write(ink, label, 60 + 40 * (column + 0.5), 60 + 34 * row + 28, 20)
    for row in range(41):
        line(sheet.ink, (60, 60 + 34 * row, 1060, 60 + 34 * row), 1, 0.8)
    for column in range(26):
        line(sheet.ink, (60 + 40 * column, 60, 60 + 40 * column, 1420), 1, 0.8)
    return skewed(sheet.ink, 0.6), sheet.text


def through(grey: Floats, random: Random) -> Floats:
    """The writing of the other side, mirrored and faint."""
    return np.minimum(grey, 255 - 0.2 * (255 - np.roll(grey[:, ::-1], 40, axis=0)))


def desk(grey: Floats, random: Random) -> Floats:
    """A dark, grained desk around the sheet."""
    grain_of_wood = 40 + 8 * np.sin(np.arange(grey.shape[1] + 360) / 7)
    around = np.tile(grain_of_wood, (grey.shape[0] + 300, 1))
    around += random.normal(0, 4, around.shape)
    around[120:-180, 160:-200] = grey
    return np.asarray(
        ndimage.rotate(around, random.uniform(-4, 4), reshape=False, order=1, mode="nearest")
    )


Page = Callable[[Digits], tuple[Floats, str]]
Light = Callable[[Floats, Random], Floats]


def as_it_is(grey: Floats, _: Random) -> Floats:
    """Even light."""
    return grey


PAGES: Mapping[str, tuple[Page, Light]] = {
    "four rows": (plain, as_it_is),
    "four wide digits of a marker": (marker, as_it_is),
    "the last digit touches the edge": (at_edge, as_it_is),
    "ruled paper, dark lines": (ruled_page(0.9), as_it_is),
    "ruled paper, dark lines, turned by 2°": (ruled_page(0.9, degrees=2), as_it_is),
    "ruled paper, pale lines": (ruled_page(0.3), as_it_is),
    "squared paper, dark lines": (ruled_page(0.8, both=True), as_it_is),
    "squared paper, pale lines, turned by -1°": (ruled_page(0.3, both=True, degrees=-1), as_it_is),
    "table": (table(58), as_it_is),
    "table, turned by -2°": (table(58, degrees=-2), as_it_is),
    "table, digits touch the lines": (table(82), as_it_is),
    "separate boxes": (boxes(20), as_it_is),
    "separate boxes, turned by 1.5°": (boxes(20, degrees=1.5), as_it_is),
    "row of boxes": (boxes(0), as_it_is),
    "dirt of many sizes": (specks, as_it_is),
    "light falling off to a third": (plain, soft_shadow),
    "a hand's shadow": (plain, hand_shadow),
    "show-through": (plain, through),
    "a sheet on a desk": (plain, desk),
    "a table on a desk": (table(58), desk),
    "a form of 1,000 cells, turned by 0.6°": (form, as_it_is),
    "a heading of letters": (heading, as_it_is),
}


def picture(page: Page, light: Light, digits: Digits) -> tuple[bytes, str]:
    """The JPEG file of a page, and its digits."""
    ink, text = page(digits)
    grey = grain(light(on_paper(ink, 230, 45), digits.random), digits.random, 3)
    buffer = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), text


def read(opened: OpenCheckpoint, file: bytes, name: str) -> str:
    """The digits that are read, as text."""
    try:
        found = digits_in(decode(file, name), name, segment=True)
    except DataError:
        return ""
    said = opened.scorer.probabilities(np.stack([one.form for one in found])).argmax(1)
    return "".join(str(int(one)) for one in said)


def distance(first: str, second: str) -> int:
    """The edit distance (Levenshtein 1966)."""
    before = list(range(len(second) + 1))
    for row, one in enumerate(first, start=1):
        now = [row]
        for column, other in enumerate(second, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (one != other)))
        before = now
    return before[-1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of a network trained on MNIST")
    named = os.environ.get("MNIST_DATA_DIR", "data")
    parser.add_argument("--data-dir", type=Path, default=Path(named), help="of the MNIST files")
    parser.add_argument("--count", type=int, default=5, help="of pages a kind")
    parser.add_argument("--only", default="", help="the kinds whose names hold this")
    given = parser.parse_args()
    opened = OpenCheckpoint(
        checkpoints.read(find_checkpoint(given.checkpoint, Path("runs"))), resolve_device("auto")
    )
    test = store.read(catalogue.get("mnist"), "test", given.data_dir)
    print("| pages | digits | errors |\n| --- | --- | --- |")
    for name, (page, light) in PAGES.items():
        if given.only not in name:
            continue
        digits = Digits(test.images, np.asarray(test.labels), np.random.default_rng(0))
        written = wrong = 0
        for _ in range(given.count):
            file, text = picture(page, light, digits)
            written += len(text)
            wrong += distance(text, read(opened, file, name))
        print(f"| {name} | {written:,} | {wrong:,} |", flush=True)


if __name__ == "__main__":
    main()
