"""A folder of images by class: ``path/CLASS/…``, or ``path/train/CLASS/…`` and ``path/test/CLASS/…``.

Classes have their folders' names, in alphabetical order, or in numerical order if all are numbers.
Folders in a class's folder belong to it; links to folders in there are not followed.
:mod:`mnist_cli.vision.image_files` reads the pictures, and guards against hostile ones.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.data.records import MAX_IMAGES, Arrays, Raw, check_count
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import IN_WORDS, SIDE, SMALLEST, fit
from mnist_cli.vision.image_files import ENDINGS, read_picture

TRAIN, TEST = ("train", "training"), ("test", "testing")
LISTED = 5
"""The most pictures that one message names."""
MANY = 5000
"""With this many pictures reading takes more than a second."""

_LAYOUT = (
    "Images of each class go into a folder of their own: path/CLASS/….png, or "
    "path/train/CLASS/….png and path/test/CLASS/….png."
)

Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Layout:
    """The pictures by class; ``test`` is empty without a test set."""

    train: Files
    test: Files
    folders: tuple[Path, ...]
    remarks: tuple[str, ...]


def read(root: Path, say: Callable[[str], None] | None = None) -> Raw:
    """Read every picture under ``root``.

    Raises:
        DataError: classes that do not fit, or pictures that cannot be read: their number, and the
            first names.
    """
    layout = find(root)
    classes = tuple(layout.train)
    count = _count(layout.train) + _count(layout.test)
    if say and count >= MANY:
        say(f"reading {count:,} pictures in {root}")
    reader = _Reader()
    train = reader.arrays(layout.train, classes)
    test = reader.arrays(layout.test, classes) if layout.test else None
    reader.require_sound(root)
    return Raw(classes, train, test, (*layout.remarks, *reader.remarks()))


def find(root: Path) -> Layout:
    """The pictures of ``root`` by split and class, without opening any.

    Raises:
        DataError: the layout is not supported.
    """
    folders = _folders(root)
    train = next((one for one in folders if one.name.lower() in TRAIN and _folders(one)), None)
    test = next((one for one in folders if one.name.lower() in TEST and _folders(one)), None)
    if train is None and test is not None:
        raise DataError(f"{root} has {test.name}/, but no train/ beside it", _LAYOUT)
    inside = _folders(train) if train is not None else folders
    if not inside:
        raise DataError(f"{root} holds {_instead(root)}", _LAYOUT)
    other = Counter[str]()
    numbers = all(one.name.isdecimal() for one in inside)
    ordered = sorted(inside, key=lambda one: (int(one.name) if numbers else 0, one.name))
    classes = {one.name: _pictures(one, other) for one in ordered}
    _require_pictures(inside[0].parent, classes)
    tested = _tested(test, classes, other) if test else {}
    check_count(root, _count(classes) + _count(tested))
    apart = [one.name for one in folders if train is not None and one not in (train, test)]
    class_folders = (*inside, *(_folders(test) if test else ()))
    return Layout(classes, tested, class_folders, tuple(_ignored(apart, other)))


def _count(files: Files) -> int:
    return sum(map(len, files.values()))


def _folders(folder: Path) -> list[Path]:
    """The folders in it, except hidden ones and those that macOS adds to archives."""
    names = [one for one in folder.iterdir() if not one.name.startswith((".", "__"))]
    return sorted(one for one in names if one.is_dir())


def _instead(root: Path) -> str:
    if any(one.suffix.lower() in ENDINGS for one in root.iterdir()):
        return "images, but no folder for each class"
    return "neither folders of images nor IDX files"


def _pictures(folder: Path, other: Counter[str]) -> tuple[Path, ...]:
    """The pictures in it, by their file extensions, in the order of their paths.

    Other files are counted in ``other``.
    """
    found = []
    for place, inner, names in os.walk(folder, onerror=_raise):
        inner[:] = sorted(one for one in inner if not one.startswith((".", "__")))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place) / name
                if path.suffix.lower() in ENDINGS:
                    found.append(path)
                else:
                    other[path.suffix.lower()] += 1
        if len(found) > MAX_IMAGES:
            break
    return tuple(found)


def _raise(error: OSError) -> None:
    raise error


def _require_pictures(folder: Path, classes: Files) -> None:
    empty = [name for name, files in classes.items() if not files]
    if empty:
        listed = ", ".join(empty[:LISTED]) + (", …" if len(empty) > LISTED else "")
        raise DataError(
            f"{folder}: no images in the folder{'s' if len(empty) > 1 else ''} {listed}", _LAYOUT
        )


def _tested(test: Path, classes: Files, other: Counter[str]) -> Files:
    folders = _folders(test)
    unknown = [one.name for one in folders if one.name not in classes]
    if unknown:
        raise DataError(
            f"{test} has the class{'es' if len(unknown) > 1 else ''} {', '.join(unknown[:LISTED])} "
            "without training images",
            f"The classes are {', '.join(list(classes)[:20])}.",
        )
    files = {one.name: _pictures(one, other) for one in folders}
    if not any(files.values()):
        raise DataError(f"{test} has no images", _LAYOUT)
    return files


def _ignored(apart: Sequence[str], other: Counter[str]) -> Iterator[str]:
    if apart:
        yield f"ignored beside train/ and test/: {', '.join(f'{name}/' for name in apart)}"
    if other:
        kinds = ", ".join(sorted(kind or "no extension" for kind in other)[:LISTED])
        yield f"{other.total():,} files ignored that are not pictures ({kinds})"


@dataclass
class _Reader:
    """Reads pictures one after the other, and collects their sizes and errors."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def arrays(self, files: Files, classes: Sequence[str]) -> Arrays:
        """All pictures of one split; one that cannot be read is black, and reported at the end."""
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
        """How many images had other sizes, and what became of them."""
        others = {size: n for size, n in self.sizes.items() if size != (SIDE, SIDE)}
        if others:
            least, most = min(others), max(others)
            sizes = _size(least) if least == most else f"{_size(least)} to {_size(most)}"
            yield f"{sum(others.values()):,} of {self.sizes.total():,} images are {sizes}: {IN_WORDS}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
