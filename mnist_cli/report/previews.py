"""What the terminal shows of a plot: a title, and small pictures, curves or a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Preview:
    """A small version of a plot.

    Attributes:
        title: one line.
        images: grey (H, W), uint8, of one height.
        captions: of the images.
        curves: values by name.
        confusion: a confusion matrix, and the classes' names.
        chart: a plane as text, one string per line.
    """

    title: str
    images: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    confusion: tuple[Sequence[Sequence[int]], Sequence[str]] | None = None
    chart: Sequence[str] = ()


def grey(values: npt.NDArray[Any], *, repeat: int = 1) -> npt.NDArray[np.uint8]:
    """Signed values (H, W) as grey levels with 0 in the middle, each pixel ``repeat`` times."""
    most = float(np.abs(values).max()) or 1.0
    levels = (127.5 + 127.5 * values / most).round().astype(np.uint8)
    return np.kron(levels, np.ones((repeat, repeat), np.uint8))


def bright(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Values (H, W) from 0 on as grey levels, at half size if they are more than 14 rows."""
    levels = (255 * values / (float(values.max()) or 1.0)).round().astype(np.uint8)
    return half(levels) if len(levels) > 14 else levels


def half(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An image (H, W) at half its size: the mean of each four pixels."""
    height, width = (size // 2 for size in image.shape)
    fours = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    small: npt.NDArray[np.uint8] = fours.mean(axis=(1, 3)).astype(np.uint8)
    return small
