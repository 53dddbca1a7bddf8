"""Reads a folder of images by class, found by :mod:`mnist_cli.data.class_folders`.

:mod:`mnist_cli.vision.image_files` reads the pictures, and guards against hostile ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.data.class_folders import LISTED, Files, count, find
from mnist_cli.data.records import Arrays, Raw, of_pictures
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import IN_WORDS, SIDE, SMALLEST, fit
from mnist_cli.vision.image_files import read_picture

MANY = 5000
"""Number of pictures from which reading takes more than a second."""


def read(root: Path, say: Callable[[str], None] | None = None) -> Raw:
    """Read every picture under ``root``.

    Raises:
        DataError: classes do not match, or pictures cannot be read; gives their number and the
            first names.
    """
    layout = find(root)
    classes = tuple(layout.train)
    number = sum(map(count, (layout.train, layout.test, layout.val)))
    if say and number >= MANY:
        say(f"reading {number:,} pictures in {root}")
    reader = _Reader()
    train = reader.arrays(layout.train, classes)
    test, val = (
        reader.arrays(files, classes) if files else None for files in (layout.test, layout.val)
    )
    reader.require_sound(root)
    return Raw(classes, train, test, (*layout.remarks, *reader.remarks()), val)


@dataclass
class _Reader:
    """Reads pictures one after the other, and collects their sizes and errors."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def arrays(self, files: Files, classes: Sequence[str]) -> Arrays:
        """All pictures of a split; unreadable ones are black, and reported at the end."""
        paths = [path for name in classes for path in files.get(name, ())]
        labels = [number for number, name in enumerate(classes) for _ in files.get(name, ())]
        images = np.zeros((len(paths), SIDE, SIDE), dtype=np.uint8)
        for image, path in zip(images, paths, strict=True):
            try:
                image[:] = self._read(path)
            except DataError as error:
                self.broken.append(error.message)
        return Arrays(images, np.array(labels, dtype=np.int64), tuple(paths))

    def _read(self, path: Path) -> npt.NDArray[np.uint8]:
        picture = read_picture(str(path))
        height, width = (round(picture.scale * side) for side in picture.grey.shape)
        if min(height, width) < SMALLEST:
            raise DataError(
                f"{path} has {width}×{height} pixels; at least {SMALLEST} per side are needed"
            )
        self.sizes[width, height] += 1
        self.changes.update(picture.remarks)
        return fit(picture.grey)

    def require_sound(self, root: Path) -> None:
        """Raise a DataError if a picture could not be read."""
        if self.broken:
            more = len(self.broken) - LISTED
            listed = "; ".join(self.broken[:LISTED]) + (f"; and {more:,} more" if more > 0 else "")
            raise DataError(
                f"{len(self.broken):,} of the images in {root} cannot be used: {listed}",
                "Repair them, or take them out of the folder.",
            )

    def remarks(self) -> Iterator[str]:
        """Remarks on the numbers of images that were converted."""
        yield from of_pictures(self.changes, self.sizes.total())
        others = {size: n for size, n in self.sizes.items() if size != (SIDE, SIDE)}
        if others:
            least, most = min(others), max(others)
            sizes = _size(least) if least == most else f"{_size(least)} to {_size(most)}"
            yield f"{sum(others.values()):,} of {self.sizes.total():,} images are {sizes}: {IN_WORDS}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
