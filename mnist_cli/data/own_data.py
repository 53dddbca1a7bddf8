"""Reads the user's own data: a folder of images by class, IDX files, CSV, npz or Parquet.

The result has the networks' form, (N, 28, 28) bytes and labels from 0; :attr:`OwnData.remarks`
describes the changes. If there is no test set, a fifth of each class becomes one. The choice
depends on the images' contents, so every run on every machine tests on the same images.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import absence, is_folder, is_there
from mnist_cli.catalogue.spec import DatasetSpec
from mnist_cli.config.names import absolute_dataset, dataset_label, is_own_data
from mnist_cli.data import own_files, own_idx, row_files
from mnist_cli.data.file_kinds import kind_of
from mnist_cli.data.mnist_form import IN_WORDS, has_mnist_form
from mnist_cli.data.records import UNREADABLE, Arrays, Raw, listed
from mnist_cli.errors import DataError, UsageError

TEST_SHARE = 5
"""One image in this number becomes a test image, in each class."""

MAX_CLASSES = 1000
LISTED = 30
"""Maximum number of classes that one line names."""
LONGEST_NAME = 255
"""Maximum number of characters of a class's name."""
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of text."""
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class OwnData:
    """A data set of the user's own.

    Attributes:
        spec: its name, classes, counts, mean and standard deviation.
        train: the training images.
        test: the test images.
        remarks: one sentence for each change made to the images.
        val: the validation images; None to cut them from the training images.
    """

    spec: DatasetSpec
    train: Arrays
    test: Arrays
    remarks: tuple[str, ...]
    val: Arrays | None = None

    def files(self) -> dict[str, tuple[str, ...]]:
        """By split, the file of each image relative to the folder; empty if images share a file."""
        root = self.spec.name
        return {
            name: tuple(path.relative_to(root).as_posix() for path in arrays.files)
            for name, arrays in (("train", self.train), ("test", self.test), ("val", self.val))
            if arrays is not None and arrays.files
        }

    def in_words(self) -> str:
        """The classes and the numbers of their training and test images, in one line."""
        counts = self.counts()
        some = [f"{name} {train:,} + {test:,}" for name, train, test in counts[:LISTED]]
        more = f", and {len(counts) - LISTED:,} more" if len(counts) > LISTED else ""
        val = "" if self.val is None else f"; {len(self.val):,} validation images"
        return f"{len(counts):,} classes, training + test images: {', '.join(some)}{more}{val}"

    def counts(self) -> list[tuple[str, int, int]]:
        """For each class, its name and its numbers of training and test images."""
        train, test = (
            np.bincount(one.labels, minlength=len(self.spec.classes)).tolist()
            for one in (self.train, self.test)
        )
        return list(zip(self.spec.classes, train, test, strict=True))


def path_of(name: str) -> Path | None:
    """The absolute path of a data set's file or folder; None if its name is not a path.

    Raises:
        UsageError: the name is empty.
    """
    if not name:
        raise UsageError(
            "the name of the data set is empty", "Name a data set, a file or a folder."
        )
    path = str(absolute_dataset(name, Path()))
    return Path(path) if is_own_data(path) else None


def read_own(path: Path, say: Callable[[str], None] | None = None) -> OwnData:
    """Read a folder of images by class, a folder of IDX files, or files with a row for each image.

    Args:
        path: the file or folder, absolute: it becomes the data set's name.
        say: called with a line of text before each slow step.

    Raises:
        DataError: the path is none of them, a part is damaged, or the parts do not match.
        ImportError: the package that reads it is missing.
    """
    raw = read_raw(path, say)
    remarks = list(raw.remarks)
    train, test = raw.train, raw.test
    if test is None:
        train, test = _cut_test(path, train, raw.classes)
        remarks.append(
            f"no test set found: {len(test):,} images, one in {TEST_SHARE} of each class, are held "
            "out as one"
        )
    mean, std = _figures(path, train.images)
    mnist_form = has_mnist_form(train.images)
    if mnist_form:
        remarks.append(f"its images have {IN_WORDS}: pictures to classify are converted to it")
    spec = DatasetSpec(
        name=str(path),
        title=dataset_label(str(path)),
        classes=raw.classes,
        train_count=len(train),
        test_count=len(test),
        mean=mean,
        std=std,
        own=True,
        mnist_form=mnist_form,
    )
    return OwnData(spec, train, test, tuple(remarks), raw.val)


def read_raw(path: Path, say: Callable[[str], None] | None) -> Raw:
    """As :func:`read_own`, without cutting a test set. Raises the same."""
    with _explained(path):
        raw = _read(path, say)
    _check_classes(path, raw.classes)
    return raw


def _read(path: Path, say: Callable[[str], None] | None) -> Raw:
    if not is_folder(path):
        return own_files.read(path, say)
    raw = own_idx.read(path)
    if raw is None and not _prefers_pictures(path):
        raw = own_files.read_folder(path, say)
    if raw is not None:
        used = locate(path)
        beside = [*row_files.rows_in(path), *_picture_folders(path)]
        beside = [one for one in beside if not any(file.is_relative_to(one) for file in used)]
    else:
        from mnist_cli.data import own_pictures  # other files are read without Pillow

        raw = own_pictures.read(path, say)
        beside = row_files.rows_in(path)
    if not beside:
        return raw
    names = [f"{one.name}/" if one.is_dir() else one.name for one in beside]
    remark = f"not used: {listed(names, LISTED)}"
    return replace(raw, remarks=(*raw.remarks, remark))


def _picture_folders(path: Path) -> list[Path]:
    """The folders that hold pictures, in at most two further levels.

    Without Pillow, none. Folders that may not be read do not count.
    """
    try:
        from mnist_cli.data import class_folders
    except ImportError:
        return []
    found = []
    for one in class_folders.folders_of(path):
        with contextlib.suppress(PermissionError):
            if class_folders.holds_pictures(one):
                found.append(one)
    return found


def _prefers_pictures(path: Path) -> bool:
    """Whether a folder has folders of pictures, and no file of rows named as a training set."""
    if not row_files.may_hold_rows(path):
        return True
    if row_files.has_train_file(path):
        return False
    try:
        from mnist_cli.data import class_folders

        class_folders.find(path)
    except (DataError, ImportError):
        return False
    return True


def locate(path: Path) -> tuple[Path, ...]:
    """The files, or the folders of the classes, without reading any image.

    Raises:
        DataError: there are no such files or folders, or some are missing.
    """
    with _explained(path):
        if not is_folder(path):
            kind_of(path)
            return (path,)
        files = own_idx.find(path)
        if files is not None:
            return tuple(files.values())
        rows = None if _prefers_pictures(path) else row_files.find(path)
        if rows is not None:
            return rows.files
        from mnist_cli.data import class_folders

        return class_folders.find(path).folders


def check_exists(path: Path) -> None:
    """Refuse a file or folder that does not exist.

    Raises:
        DataError: it does not exist, or the system refuses access.
    """
    with _explained(path):
        pass


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Check that a path exists, and turn errors of the system in the block into a DataError."""
    try:
        if not is_there(path):
            raise DataError(
                f"the data set {path} {absence(path)}",
                "Name a folder that holds one folder of images per class, IDX files, or a CSV, npz "
                "or Parquet file.",
            )
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or path}: {error.strerror}", UNREADABLE
        ) from error


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    if not 2 <= len(classes) <= MAX_CLASSES:
        what = (
            f"only the class {classes[0]!r}" if len(classes) == 1 else f"{len(classes):,} classes"
        )
        raise DataError(
            f"{path} has {what}: 2 to {MAX_CLASSES:,} classes are supported",
            "In a file, the labels name the classes; of pictures, the folders: path/CLASS/….png.",
        )

    wrong = next((name for name in classes if not _can_be_shown(name)), None)
    if wrong is not None:
        raise DataError(
            f"{path}: the class {wrong[:40]!a} has control characters in its name, or is too long",
            "Rename it.",
        )


def _can_be_shown(name: str) -> bool:
    """Whether a terminal shows a name unchanged: no character moves the cursor or reverses text."""
    return len(name) <= LONGEST_NAME and not any(
        unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in _TURNS for one in name
    )


def _cut_test(path: Path, train: Arrays, classes: Sequence[str]) -> tuple[Arrays, Arrays]:
    """Hold out one in :data:`TEST_SHARE` images of each class for testing, at least one."""
    chosen = np.zeros(len(train), dtype=bool)
    for number, name in enumerate(classes):
        rows = np.flatnonzero(train.labels == number)
        if len(rows) < 2:
            raise DataError(
                f"{path}: the class {name!r} has only one image, too few to hold out a test set",
                "Add images, or a test set: path/test/CLASS/… beside path/train, or test.csv beside "
                "train.csv.",
            )
        count = max(1, round(len(rows) / TEST_SHARE))
        # Sort by the hash of their bytes: random, and the same for the same pixels.
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
        raise DataError(
            f"{path}: all pixels of all training images are the same grey",
            "Check the images: nothing is drawn on them.",
        )
    levels = np.arange(256) / 255
    mean = float(counts @ levels / counts.sum())
    std = math.sqrt(float(counts @ (levels - mean) ** 2 / counts.sum()))
    return mean, std
