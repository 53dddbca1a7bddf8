"""The type of a catalogue entry: a data set's files, their sizes and checksums, and its classes.

:mod:`mnist_cli.catalogue` has the entries. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SplitName = Literal["train", "test"]
Kind = Literal["images", "labels"]

HEIGHT = WIDTH = 28
"""Of every image, in pixels."""


@dataclass(frozen=True)
class SourceFile:
    """One IDX file of a data set.

    ``name`` is the decompressed file's; ``bytes`` its exact size; ``md5`` its checksum if it is
    known. ``archive_md5`` is the gzip's checksum; None if only a whole bundle's is known.
    """

    split: SplitName
    kind: Kind
    name: str
    bytes: int
    archive_md5: str | None = None
    md5: str | None = None

    @property
    def archive(self) -> str:
        """The gzip's name."""
        return f"{self.name}.gz"


@dataclass(frozen=True)
class Bundle:
    """A zip that holds the gzips of a data set among others, in its folder ``folder``.

    ``max_bytes`` bounds what is downloaded under this name.
    """

    name: str
    md5: str
    folder: str
    max_bytes: int


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: classes of 28×28 grey images in a training and a test split.

    Attributes:
        name: its name in commands; of the user's own its absolute path.
        title: its name in texts.
        classes: the name of each class, in the order of the labels.
        train_count: images in the training split.
        test_count: images in the test split.
        mean: of the training pixels, as a fraction of 1.
        std: of the training pixels, as a fraction of 1.
        folder: torchvision's folder under a data directory; "" for the bundled set.
        mirrors: https addresses, each ending in a slash, to which an archive's name is added.
        files: the four IDX files; none for the bundled set.
        bundle: the zip that the files come in, if they do.
        transposed: whether images are stored column by column.
        label_columns: integers stored with each image; the class is the first.
        fetch_seconds: the default time limit of a download.
        own: whether it is the user's own, read by :mod:`mnist_cli.data.own_data`.
        mnist_form: whether the user's own images have MNIST's form.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    train_count: int
    test_count: int
    mean: float
    std: float
    folder: str = ""
    mirrors: tuple[str, ...] = ()
    files: tuple[SourceFile, ...] = ()
    bundle: Bundle | None = None
    transposed: bool = False
    label_columns: int = 1
    fetch_seconds: float = 600.0
    own: bool = False
    mnist_form: bool = False

    @property
    def bundled(self) -> bool:
        """Whether it comes with this program's dependencies and needs no file of its own."""
        return not self.files and not self.own

    def count(self, split: SplitName) -> int:
        """The number of images in ``split``."""
        return self.train_count if split == "train" else self.test_count

    def file(self, split: SplitName, kind: Kind) -> SourceFile:
        """The file that holds ``kind`` of ``split``.

        Raises:
            KeyError: the set is bundled and has no files.
        """
        for file in self.files:
            if (file.split, file.kind) == (split, kind):
                return file
        raise KeyError((split, kind))


def idx_bytes(kind: Kind, count: int, label_columns: int = 1) -> int:
    """The size of an IDX file: magic, a 32-bit size per dimension, then the entries.

    Labels are bytes in one dimension, or 32-bit integers in two if there are several columns.
    """
    if kind == "images":
        return 16 + count * HEIGHT * WIDTH
    return 8 + count if label_columns == 1 else 12 + 4 * count * label_columns
