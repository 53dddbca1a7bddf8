"""Data of the user's own: a folder of images by class, or IDX files of any size and class count.

The result has the networks' form, (N, 28, 28) bytes and labels from 0; :attr:`OwnData.remarks`
describes the changes. If there is no test set, a fifth of each class becomes one. The images'
contents choose it, so that every run on every machine tests on the same images.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import is_folder, is_there
from mnist_cli.catalogue.spec import DatasetSpec
from mnist_cli.config.names import absolute_dataset, dataset_label, is_own_data
from mnist_cli.data import own_idx
from mnist_cli.data.records import Arrays
from mnist_cli.errors import DataError

TEST_SHARE = 5
"""One image in this number becomes a test image, in each class."""

MAX_CLASSES = 1000
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class OwnData:
    """A data set of the user's own.

    Attributes:
        spec: its name, classes, counts, mean and standard deviation.
        train: the training images.
        test: the test images.
        remarks: the changes made to the images, a sentence each.
    """

    spec: DatasetSpec
    train: Arrays
    test: Arrays
    remarks: tuple[str, ...]

    def files(self) -> dict[str, tuple[str, ...]]:
        """By split the file of each image, relative to the folder; empty for IDX files."""
        root = self.spec.name
        return {
            name: tuple(path.relative_to(root).as_posix() for path in arrays.files)
            for name, arrays in (("train", self.train), ("test", self.test))
            if arrays.files
        }

    def counts(self) -> list[tuple[str, int, int]]:
        """By class its name, and its numbers of training and test images."""
        train, test = (
            np.bincount(one.labels, minlength=len(self.spec.classes)).tolist()
            for one in (self.train, self.test)
        )
        return list(zip(self.spec.classes, train, test, strict=True))


def folder_of(name: str) -> Path | None:
    """The folder that a data set's name means, absolute; None for a name that is no path."""
    seen = str(absolute_dataset(name, Path()))
    return Path(seen) if is_own_data(seen) else None


def read_own(path: Path, say: Callable[[str], None] | None = None) -> OwnData:
    """Read a folder of images by class, or one with IDX files.

    Args:
        path: the folder, absolute: it becomes the data set's name.
        say: called with a line about a slow step.

    Raises:
        DataError: it is neither, something in it is damaged, or its parts do not match.
    """
    with _folder(path):
        raw = own_idx.read(path)
        if raw is None:
            from mnist_cli.data import own_pictures  # IDX files are read without Pillow

            raw = own_pictures.read(path, say)
    _check_classes(path, raw.classes)
    remarks = list(raw.remarks)
    train, test = raw.train, raw.test
    if test is None:
        train, test = _cut_test(path, train, raw.classes)
        remarks.append(
            f"no test set found: {len(test):,} images, one in {TEST_SHARE} of each class, are held "
            "out as one"
        )
    mean, std = _figures(path, train.images)
    spec = DatasetSpec(
        name=str(path),
        title=dataset_label(str(path)),
        classes=raw.classes,
        train_count=len(train),
        test_count=len(test),
        mean=mean,
        std=std,
        own=True,
    )
    return OwnData(spec, train, test, tuple(remarks))


def locate(path: Path) -> tuple[Path, ...]:
    """The IDX files, or the folders of the classes, without opening any.

    Raises:
        DataError: there are neither, or some are missing.
    """
    with _folder(path):
        files = own_idx.find(path)
        if files is not None:
            return tuple(files.values())
        from mnist_cli.data import own_pictures

        return own_pictures.find(path).folders


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Look into a folder; an error of the system becomes one message."""
    try:
        if not is_folder(path):
            what = "is a file" if is_there(path) else "does not exist"
            raise DataError(
                f"the data set {path} {what}",
                "Name a folder that holds one folder of images per class, or IDX files.",
            )
        yield
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    if not 2 <= len(classes) <= MAX_CLASSES:
        found = (
            f"only the class {classes[0]!r}" if len(classes) == 1 else f"{len(classes):,} classes"
        )
        raise DataError(
            f"{path} has {found}: 2 to {MAX_CLASSES:,} classes are supported",
            "Images of each class go into a folder of their own: path/CLASS/….png.",
        )


def _cut_test(path: Path, train: Arrays, classes: Sequence[str]) -> tuple[Arrays, Arrays]:
    """Keep one of :data:`TEST_SHARE` images of each class for testing, at least one."""
    chosen = np.zeros(len(train), dtype=bool)
    for number, name in enumerate(classes):
        rows = np.flatnonzero(train.labels == number)
        if len(rows) < 2:
            raise DataError(
                f"{path}: the class {name!r} has only one image, too few to hold out a test set",
                "Add images, or a test set: path/train/CLASS/… and path/test/CLASS/….",
            )
        count = max(1, round(len(rows) / TEST_SHARE))
        # By their bytes' hash: random, and the same for the same pixels.
        order = sorted(rows.tolist(), key=lambda row: _hash(train.images[row]))
        chosen[order[:count]] = True
    return _rows(train, ~chosen), _rows(train, chosen)


def _hash(image: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(b"test-split" + image.tobytes()).digest()


def _rows(arrays: Arrays, chosen: npt.NDArray[np.bool_]) -> Arrays:
    files = tuple(compress(arrays.files, chosen))
    return Arrays(arrays.images[chosen], arrays.labels[chosen], files)


def _figures(path: Path, images: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, as fractions of 1; from counts, so exact."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        counts += np.bincount(images[start : start + _CHUNK].reshape(-1), minlength=256)
    if np.count_nonzero(counts) == 1:
        raise DataError(f"{path}: all pixels of all training images are the same grey")
    levels = np.arange(256) / 255
    mean = float(counts @ levels / counts.sum())
    std = math.sqrt(float(counts @ (levels - mean) ** 2 / counts.sum()))
    return mean, std
