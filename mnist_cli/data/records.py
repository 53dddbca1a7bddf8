"""Data sets as numpy arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.errors import DamagedError, DataError

MAX_IMAGES = 1_000_000
"""Maximum number of images of a data set: 784 MB as bytes of 28×28."""


UNREADABLE = "Name a file or folder that you may read."
"""The hint of an error of the operating system."""


def check_equal(images: object, count: int, labels: object, labelled: int) -> None:
    """Refuse ``count`` images in ``images`` with another number of labels in ``labels``.

    Raises:
        DataError: the numbers differ.
    """
    if count != labelled:
        raise DataError(
            f"{count:,} images in {images}, but {labelled:,} labels in {labels}",
            "They belong to different data sets, or one of them is incomplete.",
        )


def check_count(root: Path, count: int) -> None:
    """Refuse a data set that is too large to keep in memory.

    Raises:
        DataError: ``count`` is more than :data:`MAX_IMAGES`.
    """
    if count > MAX_IMAGES:
        raise DataError(
            f"{root} has more than the {MAX_IMAGES:,} images that are supported",
            "Leave out some of them.",
        )


MAX_RATIO = 250
"""Maximum factor by which compression shrinks a data set; MNIST's CSV shrinks to a ninth."""
_SMALL = 64 << 20


def check_ratio(where: str, unpacked: int, packed: int) -> None:
    """Refuse data that unpack to far more than their compressed bytes: they cannot be images.

    Raises:
        DataError: ``unpacked`` bytes are more than 64 MiB and :data:`MAX_RATIO` times ``packed``.
    """
    if unpacked > max(_SMALL, MAX_RATIO * packed):
        raise DamagedError(
            f"{where}: {packed:,} compressed bytes unpack to more than {MAX_RATIO} times as many",
            "Download it again, or write it without compression.",
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, with an ellipsis if there are more."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


def of_pictures(remarks: Counter[str], total: int) -> tuple[str, ...]:
    """Remarks on single pictures, each with the number of pictures that it applies to."""
    return tuple(f"{count:,} of {total:,} images: {one}" for one, count in remarks.items())


@dataclass(frozen=True, eq=False)
class Arrays:
    """One split in memory.

    Attributes:
        images: (N, 28, 28), uint8, 0 to 255, upright, white on black.
        labels: (N,), int64, each the number of a class.
        files: the file of each image, if each has one.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Raw:
    """The user's own data, before a test set is held out.

    Attributes:
        classes: their names, in the order of the labels.
        train: the training images.
        test: the test images; None without a test set.
        remarks: one sentence for each change made to the images.
        val: the validation images; None to cut them from the training images.
    """

    classes: tuple[str, ...]
    train: Arrays
    test: Arrays | None
    remarks: tuple[str, ...]
    val: Arrays | None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """One split as a file holds it.

    Attributes:
        images: (N, 28, 28), uint8, scaled to that size if the file has another.
        labels: (N,), whole numbers of any value; None if the file has none.
        names: of the labels from 0, if the file has them.
        spelled: whether the file's labels are these names, not numbers.
        remarks: one sentence for each guess or change.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    spelled: bool = False

    def __len__(self) -> int:
        return len(self.images)
