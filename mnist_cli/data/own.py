"""Data of the user's own: a folder of images by class, or IDX files of any size and class count.

Whatever comes in goes on as (N, 28, 28) bytes and labels from 0, since that is what the networks
take; what was done to it is said in :attr:`OwnData.remarks`. A test set that there is not is cut
from the training images: a fifth of each class, chosen by the images' contents, so that every run
on every machine is tested on the same ones.
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
from mnist_cli.config.names import dataset_label
from mnist_cli.data import own_idx
from mnist_cli.data.records import Arrays, Raw
from mnist_cli.errors import DataError

TEST_SHARE = 5
"""Of so many images of a class one is for the test set."""

MAX_CLASSES = 1000
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class OwnData:
    """Both splits, what is known of them, and what was done to bring them into this form.

    ``sources`` are the files, or the classes' folders, that they came from.
    """

    spec: DatasetSpec
    train: Arrays
    test: Arrays
    sources: tuple[Path, ...]
    remarks: tuple[str, ...]

    def files(self) -> dict[str, tuple[str, ...]]:
        """By split the file of each image, as seen from the folder; empty for IDX files."""
        root = self.spec.name
        return {
            name: tuple(path.relative_to(root).as_posix() for path in arrays.sources)
            for name, arrays in (("train", self.train), ("test", self.test))
            if len(arrays.sources) == len(arrays)
        }


def read(path: Path, say: Callable[[str], None] | None = None) -> OwnData:
    """Read a folder of images by class, or one with IDX files.

    Args:
        path: the folder, absolute: it becomes the data set's name.
        say: told, in a line, of what takes long.

    Raises:
        DataError: it is neither, something in it is damaged, or its parts do not fit each other.
    """
    raw = _read_raw(path, say)
    _check_classes(path, raw.classes)
    remarks = list(raw.remarks)
    train, test = raw.train, raw.test
    if test is None:
        train, test = _cut_test(path, train, raw.classes)
        remarks.append(
            f"there is no test set: {len(test):,} images, one in {TEST_SHARE} of each class, are "
            "kept from training for it"
        )
    mean, std = _figures(path, train.images)
    spec = DatasetSpec(
        name=str(path),
        title=dataset_label(str(path)),
        classes=raw.classes,
        folder="",
        mirrors=(),
        files=(),
        train_count=len(train),
        test_count=len(test),
        mean=mean,
        std=std,
        homepage="",
        citation="",
        licence="",
        own=True,
    )
    return OwnData(spec, train, test, raw.sources, tuple(remarks))


def count(data: OwnData) -> list[tuple[str, int, int]]:
    """By class its name, and how many images it has for training and for testing."""
    both = (
        np.bincount(one.labels, minlength=len(data.spec.classes)) for one in (data.train, data.test)
    )
    return list(zip(data.spec.classes, *(counts.tolist() for counts in both), strict=True))


def locate(path: Path) -> tuple[Path, ...]:
    """The IDX files, or the folders of the classes; nothing is opened.

    Raises:
        DataError: there are neither, or not all.
    """
    with _folder(path):
        files = own_idx.find(path)
        if files is not None:
            return tuple(files.values())
        from mnist_cli.data import own_pictures

        return own_pictures.find(path).folders


def _read_raw(path: Path, say: Callable[[str], None] | None) -> Raw:
    with _folder(path):
        raw = own_idx.read(path)
        if raw is not None:
            return raw
        from mnist_cli.data import own_pictures  # IDX files are read without Pillow

        return own_pictures.read(path, say)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Look into a folder; what the system refuses becomes one message."""
    try:
        if not is_folder(path):
            there = "is a file" if is_there(path) else "is not there"
            raise DataError(
                f"the data set {path} {there}",
                "Name a folder, as with --dataset: one of images for each class in it, or IDX files.",
            )
        yield
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from error
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{str(path)!r} cannot be the name of a folder") from error


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    if not 2 <= len(classes) <= MAX_CLASSES:
        found = f"only the class {classes[0]!r}" if len(classes) == 1 else f"{len(classes):,}"
        raise DataError(
            f"{path} has {found}: a network tells 2 to {MAX_CLASSES:,} classes apart",
            "Images of each class go into a folder of their own: path/CLASS/….png.",
        )


def _cut_test(path: Path, train: Arrays, classes: Sequence[str]) -> tuple[Arrays, Arrays]:
    """Keep one of :data:`TEST_SHARE` images of each class for testing, at least one."""
    chosen = np.zeros(len(train), dtype=bool)
    for number, name in enumerate(classes):
        rows = np.flatnonzero(train.labels == number)
        if len(rows) < 2:
            raise DataError(
                f"{path}: the class {name!r} has one image alone, so that no test set can be cut",
                "Give it another, or give a test set: path/train/CLASS/… and path/test/CLASS/….",
            )
        count = max(1, round(len(rows) / TEST_SHARE))
        order = sorted(rows.tolist(), key=lambda row: _lot(train.images[row]))
        chosen[order[:count]] = True
    return _rows(train, ~chosen), _rows(train, chosen)


def _lot(image: npt.NDArray[np.uint8]) -> bytes:
    """What decides on an image: random, and the same for the same pixels."""
    return hashlib.sha256(b"test-split" + image.tobytes()).digest()


def _rows(arrays: Arrays, chosen: npt.NDArray[np.bool_]) -> Arrays:
    sources = arrays.sources
    if len(sources) == len(arrays):  # a file for each image
        sources = tuple(compress(sources, chosen))
    return Arrays(arrays.images[chosen], arrays.labels[chosen], sources, arrays.verified)


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
