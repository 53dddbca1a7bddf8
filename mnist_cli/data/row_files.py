"""Finds the files of a folder that hold rows of pixels, in CSV, npz or Parquet.

Names determine splits: ``train.csv`` and ``test.csv``, ``mnist_train.csv.gz``,
``train-00000-of-00001.parquet``, ``train/0000.parquet``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.data import own_csv, own_npz
from mnist_cli.data.file_kinds import kind_of
from mnist_cli.data.records import listed
from mnist_cli.data.split_names import SPLITS, SplitPart, in_words, split_of
from mnist_cli.errors import DamagedError, DataError

ENDINGS = (".csv", ".csv.gz", ".txt", ".tsv", ".npz", ".parquet")
"""Only files in a folder with these endings are examined."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


@dataclass(frozen=True)
class Found:
    """The files of a folder by split."""

    splits: Mapping[SplitPart, tuple[Path, ...]]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for paths in self.splits.values() for path in paths)


def find(root: Path) -> Found | None:
    """The files of a folder that hold rows of pixels; None if there are none.

    Raises:
        DataError: two files match one split.
    """
    here = _found_in(root) or _in_split_folders(root)
    if here is not None:
        return here
    inside = {
        folder: files
        for folder in _inner(root)
        if (files := _found_in(folder) or _in_split_folders(folder))
    }
    if len(inside) > 1:
        names = listed([f"{folder.name}/" for folder in inside])
        raise DataError(
            f"{root} has several data sets, in {names}", f"Name one, such as {next(iter(inside))}."
        )
    return next(iter(inside.values()), None)


def _found_in(folder: Path) -> Found | None:
    """The files directly in a folder."""
    by_split: dict[SplitPart, list[Path]] = {}
    others, strange = [], []
    for path in _candidates(folder):
        split = split_of(path.name)
        if _is_rows(path):
            by_split.setdefault(split, []).append(path) if split else others.append(path)
        elif split:
            strange.append((split, path))
    for split, path in strange:
        if split not in by_split:
            _require_kind(path)
            if split == "train" and by_split:
                _require_rows(path, next(iter(by_split.values()))[0])
    if "train" in by_split:
        return Found({one: _one(folder, one, by_split[one]) for one in SPLITS if one in by_split})
    paths = [*others, *(path for files in by_split.values() for path in files)]
    if len(paths) > 1:
        names = listed([path.name for path in paths])
        raise DataError(
            f"{folder} has several files of images, none named as a training set: {names}",
            f"Name one, such as {paths[0]}.",
        )
    return Found({"train": tuple(paths)}) if paths else None


def _in_split_folders(root: Path) -> Found | None:
    """The files in a folder for each split, as Hugging Face converts data sets; None without them.

    Raises:
        DataError: a folder has several files that are not the parts of one.
    """
    folders = {split: folder for folder in _inner(root) if (split := split_of(folder.name))}
    files = {split: list(filter(_is_rows, _candidates(one))) for split, one in folders.items()}
    if len(folders) < 2 or not all(files.values()) or "train" not in folders:
        return None
    return Found({one: _one(folders[one], one, files[one]) for one in SPLITS if one in folders})


def _require_kind(path: Path) -> None:
    """Refuse a file that is named as a split, and is neither a CSV nor another table.

    Raises:
        DataError: it is, for example, a Git LFS pointer; names the kind and a fix.
    """
    if path.suffix.lower() != ".txt":
        kind_of(path)


def _require_rows(path: Path, other: Path) -> None:
    """Refuse a CSV without images that is named as a training set: ``other`` must not replace it.

    Raises:
        DataError: says what the CSV lacks, and how to use ``other`` alone.
    """
    if path.suffix.lower() == ".txt" or kind_of(path) != "csv":
        return
    try:
        own_csv.columns_of(path)
    except DataError as error:
        alone = f"If it is not the training set, name the file of images: {other}."
        raise DataError(error.message, f"{error.hint} {alone}".strip()) from error


def rows_in(root: Path) -> list[Path]:
    """The files directly in a folder that hold rows of pixels, or are named as a split.

    Files without permission to read them do not count.
    """
    found = []
    for path in _candidates(root):
        with contextlib.suppress(PermissionError):
            if split_of(path.name) or _is_rows(path):
                found.append(path)
    return found


def may_hold_rows(root: Path) -> bool:
    """Whether a name in the folder or its subfolders ends as a file of rows does; opens none."""
    inner = _inner(root)
    split_folders = [two for one in inner for two in _inner(one) if split_of(two.name)]
    return any(
        one.name.lower().endswith(ENDINGS)
        for folder in (root, *inner, *split_folders)
        for one in folder.iterdir()
    )


def has_train_file(root: Path) -> bool:
    """Whether a file of rows in the folder itself is named as a training set."""
    return any(split_of(path.name) == "train" and _is_rows(path) for path in _candidates(root))


def _inner(root: Path) -> list[Path]:
    return sorted(
        one for one in root.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))
    )


def _candidates(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(ENDINGS)
        and not path.name.startswith((".", "__"))
        and not path.is_dir()
    ]


def _is_rows(path: Path) -> bool:
    """Whether a file holds rows of pixels, by its first bytes; a damaged file still counts."""
    try:
        kind = kind_of(path)
        if kind == "csv":
            own_csv.columns_of(path)
    except DamagedError:
        return True
    except DataError:
        return False
    return kind != "idx"


def _one(folder: Path, split: str, paths: Sequence[Path]) -> tuple[Path, ...]:
    """The file of a split, its pair of images and labels, or all of its shards.

    Raises:
        DataError: there are several files, or shards are missing.
    """
    if pair := own_npz.pair_of(paths):
        return pair
    shards = [_SHARD.search(path.name) for path in paths]
    counts = {shard[2] for shard in shards if shard}
    numbered = [path.stem for path in paths] == [f"{number:04}" for number in range(len(paths))]
    if numbered or (len(paths) == 1 and not counts):
        return tuple(paths)
    whole = len(counts) == 1 and all(shards) and len(paths) == int(counts.pop())
    if not whole:
        names = listed([path.name for path in paths])
        raise DataError(
            f"{folder}: {names}: several files of {in_words(split)} images, or parts are missing",
            "Name one of them, or put one data set into a folder of its own.",
        )
    return tuple(sorted(paths))
