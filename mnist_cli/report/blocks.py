"""Grey images as text: two pixels per character, as coloured half blocks or as shades in ASCII."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.segment import Segment, Segments
from rich.style import Style

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UPPER_HALF = "▀"
SHADES = " .:-=+*#%@"


def colour_lines(image: npt.NDArray[np.uint8]) -> list[list[Segment]]:
    """An image (H, W) as lines of half blocks: the upper pixel in front, the lower behind."""
    return [
        [
            Segment(UPPER_HALF, Style(color=_grey(top), bgcolor=_grey(bottom)))
            for top, bottom in line
        ]
        for line in _stacked(image)
    ]


def _stacked(image: npt.NDArray[np.uint8]) -> Iterator[list[tuple[int, int]]]:
    """Two rows of pixels per line; the lower half of an odd last line is black."""
    rows = image.tolist()
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield list(zip(upper, lower, strict=True))


def _grey(value: int) -> str:
    return f"rgb({value},{value},{value})"


def plain_lines(image: npt.NDArray[np.uint8]) -> list[str]:
    """An image (H, W) as lines of shades, one character for two pixels above each other."""
    return [
        "".join(SHADES[(top + bottom) * (len(SHADES) - 1) // 510] for top, bottom in line)
        for line in _stacked(image)
    ]


def colour_row(images: Sequence[npt.NDArray[np.uint8]]) -> Segments:
    """Images side by side, with a blank column between two."""
    columns = [colour_lines(image) for image in images]
    segments: list[Segment] = []
    for line in zip(*columns, strict=True):
        for cells in line:
            segments += [*cells, Segment(" ")]
        segments.append(Segment.line())
    return Segments(segments)


def plain_row(images: Sequence[npt.NDArray[np.uint8]]) -> str:
    """Images (H, W) side by side in plain characters."""
    columns = [plain_lines(image) for image in images]
    return "\n".join(" ".join(line).rstrip() for line in zip(*columns, strict=True)) + "\n"
