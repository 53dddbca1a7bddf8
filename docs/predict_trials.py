"""Tries `mnist predict` on pictures unlike MNIST: ``python docs/predict_trials.py CHECKPOINT``.

Prints the table of docs/predict.md. ``MNIST_DATA_DIR`` is the folder of MNIST's files. Each
picture becomes a file that is read as by the command; a refused picture counts as wrong.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont
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

Floats = npt.NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """The bytes of a picture file, and the digit on it."""

    file: bytes
    digit: int


# MNIST's test digits as ink (H, W), 0 to 1. A scene turns it into grey levels (H, W), 0 to 255.

FINE = 10
"""The resolution of a scene, as a multiple of MNIST's."""


def enlarged(image: npt.NDArray[np.uint8], factor: float = FINE, margin: float = 0.3) -> Floats:
    """A digit as smooth ink with paper around it."""
    side = round(28 * factor)
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    smooth = ndimage.gaussian_filter(np.asarray(large, dtype=np.float64) / 255, factor / 4)
    sharp = np.clip((smooth - 0.5) * 4 + 0.5, 0, 1)
    return np.pad(sharp, round(margin * side))


def on_paper(ink: Floats, paper: float = 235, pen: float = 40) -> Floats:
    """Dark ink on light paper."""
    return paper + (pen - paper) * ink


def grain(grey: Floats, random: Random, deviation: float) -> Floats:
    """A camera's noise."""
    return grey + random.normal(0, deviation, grey.shape)


def slope(grey: Floats, random: Random) -> Floats:
    """A plane across the page in a random direction, from about -0.5 to 0.5."""
    height, width = grey.shape
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j] - 0.5
    return np.asarray(x * np.cos(angle) + y * np.sin(angle))


def soft_shadow(grey: Floats, random: Random) -> Floats:
    """Light that falls off to a third across the page."""
    return grey * (0.67 - 0.47 * slope(grey, random))


def hand_shadow(grey: Floats, random: Random) -> Floats:
    """A shadow with an edge over half of the page, with half of the light."""
    inside = slope(grey, random) > random.uniform(-0.2, 0.2)
    return grey * (1 - 0.5 * ndimage.gaussian_filter(inside.astype(np.float64), 3))


def pen(ink: Floats, by: float) -> Floats:
    """Strokes wider by this number of MNIST's pixels, or thinner if it is negative."""
    dark = ink > 0.5
    outside, inside = (ndimage.distance_transform_edt(one) for one in (~dark, dark))
    return np.clip(FINE * by / 2 + 0.5 - np.where(dark, -inside, outside), 0, 1)


def hairline(ink: Floats) -> Floats:
    """Only the middle line of the strokes, a pixel or two wide."""
    dark = ink > 0.5
    distance = ndimage.distance_transform_edt(dark)
    ridge = dark & (distance >= ndimage.maximum_filter(distance, 5) - 0.5)
    closed = ndimage.binary_closing(ridge, iterations=3)
    return ndimage.gaussian_filter(closed.astype(np.float64), 0.7).clip(0, 1)


def turned(ink: Floats, degrees: float) -> Floats:
    """The page rotated."""
    return ndimage.rotate(ink, degrees, reshape=True, order=1).clip(0, 1)


def tilted(ink: Floats, random: Random) -> Floats:
    """The page seen at an angle: one edge shorter by up to a third."""
    height, width = ink.shape
    near = random.uniform(0.1, 0.33)
    image = Image.fromarray((255 * ink).astype(np.uint8))
    quad = (0, 0, near * width / 2, height, width * (1 - near / 2), height, width, 0)
    bent = image.transform(image.size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    return np.asarray(bent, dtype=np.float64) / 255


def ruled(grey: Floats, spacing: float = 0.12) -> Floats:
    """Squared paper with faint lines."""
    lines = grey.copy()
    step = max(2, round(spacing * grey.shape[0]))
    for axis in (0, 1):
        np.moveaxis(lines, axis, 0)[::step] -= 25
    return lines


def in_a_corner(ink: Floats, random: Random) -> Floats:
    """A small digit anywhere on a large page."""
    height, width = ink.shape
    page = np.zeros((3 * height, 3 * width))
    top, left = random.integers(0, 2 * height), random.integers(0, 2 * width)
    page[top : top + height, left : left + width] = ink
    return page


def photograph(image: npt.NDArray[np.uint8], random: Random, *, hand: bool = False) -> Floats:
    """All together: rotated, another pen, grey paper, uneven light, out of focus, grain."""
    ink = turned(pen(enlarged(image), random.uniform(-1.2, 1.5)), random.uniform(-12, 12))
    grey = on_paper(tilted(ink, random), random.uniform(150, 240), random.uniform(20, 90))
    grey = soft_shadow(grey, random)
    grey = hand_shadow(grey, random) if hand else grey
    return grain(ndimage.gaussian_filter(grey, random.uniform(0.5, 2.5)), random, 8)


Scene = Callable[[npt.NDArray[np.uint8], Random], Floats]
SCENES: Mapping[str, Scene] = {
    "unchanged: 28×28, light on dark": lambda image, _: image.astype(np.float64),
    "dark on light, ten times as large": lambda image, _: on_paper(enlarged(image)),
    "noise (σ = 20 of 255)": lambda image, r: grain(on_paper(enlarged(image)), r, 20),
    "light falling off to a third": lambda image, r: grain(
        soft_shadow(on_paper(enlarged(image)), r), r, 5
    ),
    "a hand's shadow, with an edge": lambda image, r: grain(
        hand_shadow(on_paper(enlarged(image)), r), r, 5
    ),
    "pale pencil (ink 40 of 255 darker)": lambda image, r: grain(
        on_paper(enlarged(image), 225, 185), r, 4
    ),
    "chalk: light on grey": lambda image, r: grain(on_paper(enlarged(image), 60, 220), r, 10),
    "thin strokes (1.2 pixels less)": lambda image, _: on_paper(pen(enlarged(image), -1.2)),
    "hairlines": lambda image, _: on_paper(hairline(enlarged(image))),
    "thick strokes (2 pixels more)": lambda image, _: on_paper(pen(enlarged(image), 2)),
    "marker (3.5 pixels more)": lambda image, _: on_paper(pen(enlarged(image), 3.5)),
    "rotated by 10° or -10°": lambda image, r: on_paper(
        turned(enlarged(image), r.choice([-10, 10]))
    ),
    "rotated by 20° or -20°": lambda image, r: on_paper(
        turned(enlarged(image), r.choice([-20, 20]))
    ),
    "seen at an angle": lambda image, r: on_paper(tilted(enlarged(image), r)),
    "tight crop": lambda image, _: on_paper(closely(enlarged(image, margin=0))),
    "small, anywhere on a large page": lambda image, r: grain(
        on_paper(in_a_corner(enlarged(image, 6), r)), r, 5
    ),
    "22 pixels high, dark on light": lambda image, _: on_paper(enlarged(image, 1.1)),
    "squared paper": lambda image, r: grain(ruled(on_paper(enlarged(image))), r, 4),
    "photograph: rotated, any pen, grey paper, uneven light, blur, noise": photograph,
    "the same, and a hand's shadow across the digit": lambda image, r: photograph(
        image, r, hand=True
    ),
}


def closely(ink: Floats) -> Floats:
    """Without the paper around it."""
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def scene_samples(
    scene: Scene, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]
) -> Iterator[Sample]:
    """Each digit in a scene, as a JPEG file, or as a PNG if it is small."""
    random = np.random.default_rng(0)
    for image, label in zip(images, labels, strict=True):
        grey = Image.fromarray(np.clip(scene(image, random), 0, 255).astype(np.uint8))
        yield Sample(encoded(grey), int(label))


def encoded(image: Image.Image) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    small = max(image.size) < 100
    image.save(buffer, "PNG") if small else image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def font_samples(*, blurred: bool = False) -> Iterator[Sample]:
    """The ten digits in each text font of matplotlib, at three sizes."""
    for path in fonts():
        for digit in range(10):
            for size in (24, 60, 200):
                font = ImageFont.truetype(str(path), size)
                image = Image.new("L", (2 * size, 2 * size), 255)
                draw = ImageDraw.Draw(image)
                draw.text((size, size), str(digit), font=font, fill=0, anchor="mm")
                if blurred:
                    image = image.filter(ImageFilter.GaussianBlur(size / 40))
                yield Sample(encoded(image), digit)


def fonts() -> list[Path]:
    """The text fonts; matplotlib's other fonts hold symbols."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    kinds = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmb10", "cmr10", "cmss10", "cmtt10")
    return sorted(
        path
        for path in folder.glob("*.ttf")
        if path.stem.startswith(kinds) and "Display" not in path.stem
    )


def accuracy(opened: OpenCheckpoint, samples: list[Sample]) -> float:
    """The share of pictures whose digit is predicted."""
    forms, digits = [], []
    for number, sample in enumerate(samples):
        try:
            (found,) = digits_in(decode(sample.file, str(number)), str(number))
        except DataError:
            continue
        forms.append(found.form)
        digits.append(sample.digit)
    said = opened.scorer.probabilities(np.stack(forms)).argmax(1).numpy()
    return float((said == np.array(digits)).sum()) / len(samples)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of a network trained on MNIST")
    named = os.environ.get("MNIST_DATA_DIR", "data")
    parser.add_argument("--data-dir", type=Path, default=Path(named), help="of the MNIST files")
    parser.add_argument("--count", type=int, default=1000, help="of MNIST's test images a kind")
    parser.add_argument("--only", default="", help="the kinds whose names hold this")
    given = parser.parse_args()
    checkpoint = checkpoints.read(find_checkpoint(given.checkpoint, Path("runs")))
    opened = OpenCheckpoint(checkpoint, resolve_device("auto"))
    test = store.read(catalogue.get("mnist"), "test", given.data_dir)
    chosen = np.linspace(0, len(test.labels) - 1, given.count).astype(int)
    print("| pictures | number | correct |\n| --- | --- | --- |")
    said = opened.scorer.probabilities(test.images[chosen]).argmax(1).numpy()
    right = float((said == test.labels[chosen]).mean())
    print(f"| the test images themselves, by `mnist eval` | {given.count:,} | {right:.1%} |")
    for name, scene in SCENES.items():
        if given.only in name:
            samples = list(scene_samples(scene, test.images[chosen], test.labels[chosen]))
            print(f"| {name} | {len(samples):,} | {accuracy(opened, samples):.1%} |", flush=True)
    for name, blurred in (("printed digits", False), ("printed digits, blurred", True)):
        if given.only in name:
            samples = list(font_samples(blurred=blurred))
            title = f"{name}: {len(fonts())} fonts, 3 sizes"
            print(f"| {title} | {len(samples):,} | {accuracy(opened, samples):.1%} |", flush=True)


if __name__ == "__main__":
    main()
