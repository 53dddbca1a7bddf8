"""Classifies the rows of a data file, which are in MNIST's form already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import is_regular
from mnist_cli.data import own_csv, own_files
from mnist_cli.data.file_kinds import kind_of
from mnist_cli.errors import DataError

if TYPE_CHECKING:
    from mnist_cli.inference.opened import OpenCheckpoint

ENDINGS = (
    *(".csv", ".tsv", ".gz", ".npz", ".npy", ".parquet", ".idx", "-ubyte", ".pkl", ".pickle"),
    *(".mat", ".h5", ".hdf5", ".arff", ".tfrecord", ".zip"),
)
"""Of files that are not pictures: messages describe their faults as those of data files."""
_PART = 10_000


@dataclass(frozen=True, eq=False)
class RowAnswers:
    """The rows of one file and their classes.

    Attributes:
        path: the file.
        images: (N, 28, 28), uint8, as the network got them.
        probabilities: (N, classes), float32.
        labelled: whether the file has labels, which are not used.
        remarks: one sentence for each guess or change.
    """

    path: str
    images: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    labelled: bool
    remarks: tuple[str, ...]

    @property
    def best(self) -> npt.NDArray[np.int64]:
        """The most likely class of each row (N,)."""
        best: npt.NDArray[np.int64] = self.probabilities.argmax(1)
        return best


def holds_rows(path: str) -> bool:
    """Whether a path is a file with an image in each row, rather than a picture or a folder."""
    try:
        if not is_regular(Path(path)):
            return False
        if path.lower().endswith(ENDINGS):
            return True
        if kind_of(Path(path)) == "csv":
            own_csv.columns_of(Path(path))
    except (DataError, OSError):
        return False
    return True


def classify_rows(opened: OpenCheckpoint, path: str) -> RowAnswers:
    """Classify the rows of a CSV, npz, Parquet or IDX file, unchanged.

    Raises:
        DataError: the file is damaged, or of a kind that is not supported.
        MnistError: as :meth:`Scorer.log_probabilities`.
    """
    rows = own_files.read_images(path)
    parts = [
        opened.scorer.probabilities(rows.images[start : start + _PART]).float().numpy()
        for start in range(0, len(rows), _PART)
    ]
    return RowAnswers(
        path, rows.images, np.concatenate(parts), rows.labels is not None, rows.remarks
    )
