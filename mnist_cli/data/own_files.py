"""Reads the user's own data in CSV, npz or Parquet: a file, or a folder with files for each split.

:mod:`mnist_cli.data.file_kinds` finds the format by a file's content, and
:mod:`mnist_cli.data.row_files` the files of a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.data import idx, own_csv, own_labels, own_npz, own_parquet
from mnist_cli.data.emnist import upright
from mnist_cli.data.file_kinds import kind_of
from mnist_cli.data.records import UNREADABLE, Arrays, Raw, Rows, check_count, listed
from mnist_cli.data.row_files import find
from mnist_cli.data.split_names import in_words
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import IN_WORDS, SIDE, fit

_LABELLED = (
    "Rows need a label, in a column of that name; `mnist predict` classifies rows without one. If the "
    "labels are in another file, save both arrays: numpy.savez('data.npz', x_train=…, y_train=…)."
)


def read(path: Path, say: Callable[[str], None] | None = None) -> Raw:
    """Read a data set from one file, which may hold several splits.

    Raises:
        DataError: the file is of an unsupported kind, damaged, too large, or without labels.
    """
    splits = _splits(path, say)
    return assembled(path, splits, ())


def read_folder(root: Path, say: Callable[[str], None] | None) -> Raw | None:
    """Read the files of a folder, or of its only subfolder that has any; None without such files.

    Raises:
        DataError: as :func:`read`, or the choice of files is ambiguous.
    """
    found = find(root)
    if found is None:
        return None
    splits, remarks = {}, [f"read from {_listed(root, found.files)}"]
    if len(found.files) == 1:
        splits = dict(_splits(found.files[0], say))
    else:
        for split, paths in found.splits.items():
            pair = own_npz.pair_of(paths)
            rows = (
                _upright(pair[0], own_npz.read_pair(*pair))
                if pair
                else _joined(root, [_single(path, say) for path in paths])
            )
            if rows.labels is None and split != "train":
                name = _listed(root, paths)
                remarks.append(
                    f"{name} has no labels, so it is not used as a {in_words(split)} set"
                )
            else:
                splits[split] = rows
    return assembled(root, splits, remarks)


def _listed(root: Path, paths: Sequence[Path]) -> str:
    return listed([path.relative_to(root).as_posix() for path in paths])


def read_images(name: str | Path) -> Rows:
    """The images of one file of rows, labelled or not, for classification.

    From a file with several splits, the test images.

    Raises:
        DataError: as :func:`read`, or the file cannot be read.
    """
    path = Path(name)
    try:
        if kind_of(path) == "idx":
            return _idx_images(path)
        splits = _splits(path, None)
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}", UNREADABLE) from error
    chosen = "test" if "test" in splits else "train"
    rows = splits[chosen]
    if len(splits) == 1:
        return rows
    held = " and ".join(map(in_words, splits))
    which = f"it has {held} images: the {in_words(chosen)} images are used"
    return replace(rows, remarks=(which, *rows.remarks))


def _splits(path: Path, say: Callable[[str], None] | None) -> Mapping[str, Rows]:
    """The contents of one file by split, with upright images."""
    kind = kind_of(path)
    if kind == "idx":
        raise DataError(
            f"{path} is an IDX file, one of two or four of a data set", f"Name {path.parent}."
        )
    if kind == "npz":
        splits = own_npz.read(path)
    elif kind == "csv":
        splits = {"train": own_csv.read(path)}
    else:
        if say:
            say(f"reading the pictures in {path}")
        splits = {"train": own_parquet.read(path)}
    return {split: _upright(path, rows) for split, rows in splits.items()}


def _upright(path: Path, rows: Rows) -> Rows:
    images, remarks = upright(path.name, rows.images)
    return replace(rows, images=images, remarks=(*rows.remarks, *remarks))


def _single(path: Path, say: Callable[[str], None] | None) -> Rows:
    """Read a file that is one split of a folder."""
    splits = _splits(path, say)
    if len(splits) > 1:
        raise DataError(
            f"{path} has several splits, but lies beside other files of the data set",
            "Name it alone.",
        )
    return splits["train"]


def _joined(root: Path, parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    check_count(root, sum(map(len, parts)))
    spelled = all(part.spelled for part in parts)  # a part may lack a class
    names = {part.names for part in parts}
    every = tuple(sorted({name for some in names for name in some})) if spelled else parts[0].names
    labels = [_renumbered(str(root), part, every) for part in parts if part.labels is not None]
    if len(labels) not in (0, len(parts)) or (len(names) > 1 and not spelled):
        raise DataError(
            f"{root}: the parts of a split have different classes",
            "Write them again, all with the same names and labels.",
        )
    return Rows(
        np.concatenate([part.images for part in parts]),
        np.concatenate(labels) if labels else None,
        every,
        tuple(dict.fromkeys(remark for part in parts for remark in part.remarks)),
        spelled,
    )


def assembled(path: Path, splits: Mapping[str, Rows], remarks: Sequence[str]) -> Raw:
    """The splits with classes counted from 0.

    Raises:
        DataError: labels are missing, or some labels have no training images.
    """
    train = splits["train"]
    if train.labels is None:
        raise DataError(f"{path} has no labels", _LABELLED)
    check_count(path, sum(map(len, splits.values())))
    values = np.unique(train.labels)
    classes = _names(path, train, values.tolist())
    arrays = {}
    for split, rows in splits.items():
        if rows.labels is not None:
            where = f"{path}, {in_words(split)}"
            if rows.spelled != train.spelled:
                raise DataError(
                    f"{where}: the labels are words in one split and numbers in another",
                    "Use words in both, or numbers in both.",
                )
            labels = own_labels.number(_renumbered(where, rows, train.names), values, where)
            arrays[split] = Arrays(rows.images, labels)
    sentences = [*remarks, *_remarks(splits)]
    if not train.names:
        sentences += own_labels.remarks(values)
    return Raw(classes, arrays["train"], arrays.get("test"), tuple(sentences), arrays.get("val"))


def _renumbered(where: str, rows: Rows, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The labels renumbered by ``names``, the training set's, if the file's are in another order.

    Raises:
        DataError: a label has no name, or a name that the training set does not have.
    """
    assert rows.labels is not None
    if not names or not rows.names or rows.names == names:
        return rows.labels
    present = _names(where, rows, np.unique(rows.labels).tolist())
    if unknown := [name for name in present if name not in names]:
        raise DataError(
            f"{where}: the class {unknown[0]!a} has no training images",
            f"The classes are {', '.join(map(ascii, names[:20]))}.",
        )
    numbers = [names.index(name) if name in names else -1 for name in rows.names]
    return np.array(numbers, dtype=np.int64)[rows.labels]


def _names(path: Path | str, train: Rows, values: Sequence[int]) -> tuple[str, ...]:
    if not train.names:
        return tuple(map(str, values))
    wrong = [value for value in values if not 0 <= value < len(train.names)]
    if wrong:
        raise DataError(
            f"{path}: label {wrong[0]}, but the file names {len(train.names)} classes, from 0",
            "Write it again, with a name for each label.",
        )
    return tuple(train.names[value] for value in values)


def _remarks(splits: Mapping[str, Rows]) -> Iterator[str]:
    """The remarks on the splits; once if a remark is the same for all."""
    for remark in dict.fromkeys(one for rows in splits.values() for one in rows.remarks):
        having = [split for split, rows in splits.items() if remark in rows.remarks]
        every = len(having) == len(splits)
        yield remark if every else f"{' and '.join(map(in_words, having))} images: {remark}"
    for split, rows in splits.items():
        if rows.labels is None:
            yield f"its {in_words(split)} images have no labels, and are not used"


def _idx_images(path: Path) -> Rows:
    array = idx.load(path, hint="Write it again.").array
    if array.dtype != np.uint8 or array.ndim != 3:
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}, not images",
            "Name the images' file.",
        )
    check_count(path, len(array))
    return upright_rows(path, array, None)


def upright_rows(
    path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None
) -> Rows:
    """Images (N, H, W) of an IDX file with their labels, upright and scaled."""
    images, remarks = upright(path.name, images)
    if images.shape[1:] != (SIDE, SIDE):
        height, width = images.shape[1:]
        remarks = (*remarks, f"images are {width}×{height}: {IN_WORDS}")
        images = np.stack([fit(image) for image in images])
    return Rows(images, labels, remarks=remarks)
