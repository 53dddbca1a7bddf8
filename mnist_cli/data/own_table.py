"""Reads a table with an image in each row: finds the pixels and the label, and makes images."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.data.levels import Levels
from mnist_cli.data.own_labels import whole
from mnist_cli.data.records import Rows, check_count
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import IN_WORDS, LARGEST, SIDE, SMALLEST, fit

UNKNOWN = -1
"""The label's column, if only the rows can show it."""

LABELS = ("label", "labels", "class", "classes", "target", "digit", "y", "category")
"""Names of the column of labels, in lower case."""
_ROW = "A row has a label and 784 pixels, or the pixels alone, such as label,pixel0,…,pixel783."
_NUMBERED = re.compile(r"[a-z_ ]+(\d{1,9})")
_COUNTERS = ("", "index", "id", "imageid", "unnamed: 0", "__index_level_0__")
"""Possible names of a first column that counts the rows; pandas leaves its name empty."""


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        columns: number of columns.
        label: the column of the label; None if there is none; or :data:`UNKNOWN`.
        start: the first column that is not a counter of rows.
        side: pixels per side of an image.
    """

    columns: int
    label: int | None
    start: int
    side: int

    def labels(self) -> tuple[int, ...]:
        """The columns that may be the label."""
        if self.label == UNKNOWN:
            return self.start, self.columns - 1
        return () if self.label is None else (self.label,)


def unnamed(path: Path, count: int) -> Layout:
    """The layout of a table without names.

    Raises:
        DataError: no image has that number of pixels, with or without a label.
    """
    for label, pixels in ((None, count), (UNKNOWN, count - 1)):
        if side := _side(pixels):
            return Layout(count, label, 0, side)
    raise _no_images(path, count)


def named(path: Path, names: Sequence[str]) -> Layout:
    """The layout by the names of the columns: label, pixels, and perhaps a counter of rows.

    Raises:
        DataError: no image has that number of pixels.
    """
    plain = [name.strip("# ").lower() for name in names]
    _require_order(path, plain)
    start = int(plain[0] in _COUNTERS)
    count = len(names) - start
    labels = [number for number, name in enumerate(plain) if name in LABELS]
    if len(labels) > 1:
        both = f"{names[labels[0]]:.20} and {names[labels[1]]:.20}"
        raise DataError(f"{path} has two columns of labels: {both}", "Remove one.")
    if labels and (side := _side(count - 1)):
        return Layout(len(names), labels[0], start, side)
    for label, pixels in ((None, count), (UNKNOWN, count - 1)):
        if not labels and (side := _side(pixels)):
            return Layout(len(names), label, start, side)
    raise _no_images(path, len(names))


def _require_order(path: Path, names: Sequence[str]) -> None:
    """Refuse pixels that are numbered in another order, such as alphabetical order."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = [int(one[1]) for one in matches if one]
    if len(numbers) < len(names) - 2:
        return
    for before, after in itertools.pairwise(numbers):
        if after < before:
            raise DataError(
                f"{path}: its columns are not in order: pixel {after} follows pixel {before}",
                "Sort the columns by their numbers.",
            )


def _side(pixels: int) -> int | None:
    side = math.isqrt(max(pixels, 0))
    return side if side * side == pixels and SMALLEST <= side <= LARGEST else None


def _no_images(path: Path, columns: int) -> DataError:
    return DataError(
        f"{path} is not a table of images: {columns:,} column{'s' * (columns != 1)}, not the pixels of "
        "a square with or without a label",
        _ROW,
    )


class TableReader:
    """Turns tables of numbers, one after another, into images and labels.

    Args:
        path: the file, for messages.
        layout: its columns.
        place: the name of a row, counted from 0, for messages.
    """

    def __init__(self, path: Path, layout: Layout, place: Callable[[int], str]) -> None:
        self._path, self._layout, self._place = path, layout, place
        self._levels = Levels(place)
        self._images = bytearray()  # grows in place, by an eighth at a time
        self._labels: list[npt.NDArray[np.int64]] = []
        self._label = layout.label
        self._guess = ""

    @property
    def count(self) -> int:
        """The number of rows so far."""
        return self._levels.rows

    def add(self, table: npt.NDArray[Any]) -> None:
        """Add rows (N, columns) of any real type.

        Raises:
            DataError: a number is neither a pixel nor a label; or there are too many rows.
        """
        check_count(self._path, self.count + len(table))
        if self._label == UNKNOWN:
            self._label = _find_label(table, self._layout.start)
            which = "last" if self._label == table.shape[1] - 1 else "first"
            self._guess = f"no column is named label: the {which} one is used"
        if self._label is not None:
            self._labels.append(whole(table[:, self._label], self._place, self.count))
        side, others = self._layout.side, [*range(self._layout.start)]
        others += [] if self._label is None else [self._label]
        pixels = self._levels.of(np.delete(table, others, axis=1)).reshape(-1, side, side)
        if side != SIDE:
            pixels = np.stack([fit(image) for image in pixels])
        self._images += pixels.tobytes()

    def rows(self) -> Rows:
        """All rows added so far.

        Raises:
            DataError: no rows were added.
        """
        if not self.count:
            raise DataError(f"{self._path} has no rows", _ROW)
        images = np.frombuffer(self._images, dtype=np.uint8).reshape(-1, SIDE, SIDE)
        remarks = [self._guess] if self._guess else []
        if self._layout.start:
            remarks.append("its first column numbers the rows, and is not used")
        remarks += self._levels.finish(images)
        if (side := self._layout.side) != SIDE:
            remarks.append(f"images are {side}×{side}: {IN_WORDS}")
        labels = np.concatenate(self._labels) if self._labels else None
        return Rows(images, labels, remarks=tuple(remarks))


def _find_label(table: npt.NDArray[Any], start: int) -> int:
    """The first column, or the last one if it has fewer different values, but at least two.

    Classes are usually numbered without a gap, and the pixels of a corner are not: that counts more.
    """
    last = table.shape[1] - 1
    first_values, last_values = (np.unique(table[:, one]) for one in (start, last))
    if _counts(first_values) != _counts(last_values):
        return last if _counts(last_values) else start
    fewer = 2 <= len(last_values) < len(first_values)
    return last if fewer or len(first_values) < 2 <= len(last_values) else start


def _counts(values: npt.NDArray[Any]) -> bool:
    """Whether sorted values are whole numbers without a gap, more than one."""
    return len(values) > 1 and bool((np.diff(values) == 1).all()) and float(values[0]).is_integer()
