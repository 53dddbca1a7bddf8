"""Pictures for tests: strokes drawn by Pillow, the bundled digits, and what may happen to them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[Any]


def encoded(pixels: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seven(side: int = 200, width: int = 16) -> Pixels:
    """A dark seven on light paper, well inside its right upper part; (side, side), uint8."""
    image = Image.new("L", (side, side), 240)
    points = [(0.45, 0.15), (0.85, 0.15), (0.55, 0.75)]
    draw = ImageDraw.Draw(image)
    draw.line([(side * x, side * y) for x, y in points], fill=30, width=width, joint="curve")
    return np.array(image)


def shaded(pixels: Pixels, seed: int = 0, noise: float = 6.0) -> Pixels:
    """Light that falls off to a third from one corner to the other, and a camera's noise."""
    height, width = pixels.shape
    light = np.add.outer(np.linspace(0.5, 0.17, height), np.linspace(0.5, 0.17, width))
    grain = np.random.default_rng(seed).normal(0, noise, pixels.shape)
    return np.clip(pixels * light + grain, 0, 255).astype(np.uint8)


def half_shadow(pixels: Pixels) -> Pixels:
    """A hard shadow over the right half."""
    out = pixels.astype(float)
    out[:, pixels.shape[1] // 2 :] *= 0.5
    return out.astype(np.uint8)


def slanting_shadow(pixels: Pixels) -> Pixels:
    """A hard shadow from one corner nearly to the other, through what is written."""
    height, width = pixels.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.where(y < 0.75 - 0.9 * (x - 0.25), pixels * 0.5, pixels).astype(np.uint8)
