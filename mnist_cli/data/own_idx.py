"""Reads the user's own IDX files: named like MNIST's or EMNIST's, with any size and classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.catalogue.spec import Kind
from mnist_cli.data import idx, own_files
from mnist_cli.data.records import MAX_IMAGES, Raw, Rows, check_count, check_equal
from mnist_cli.data.split_names import SPLITS, SplitPart, split_of
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import LARGEST, SIDE, SMALLEST

_LIMIT = MAX_IMAGES * SIDE * SIDE + 16
_HINT = "Write it again, or name another folder."
_NAME = re.compile(
    r"(?P<set>.*?)(?P<split>train|val|t10k|test)-(?P<kind>images|labels)[-.]idx\d-[a-z]+(?P<gz>\.gz)?"
)
_NEEDED = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, and for a test set "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each gzipped or not"
)

Part = tuple[SplitPart, Kind]


def read(root: Path) -> Raw | None:
    """Read the IDX files of a folder, or of its ``raw``; None if there are none.

    Raises:
        DataError: some files are missing, damaged, or do not match.
    """
    files = find(root)
    if files is None:
        return None
    stored = {one: _split(files, one) for one in SPLITS if (one, "images") in files}
    check_count(root, sum(len(labels) for _, labels in stored.values()))
    splits: dict[str, Rows] = {
        one: own_files.upright_rows(files[one, "images"], *stored[one]) for one in stored
    }
    return own_files.assembled(root, splits, ())


def find(root: Path) -> dict[Part, Path] | None:
    """The IDX files of ``root``, without opening any; None if there are none.

    Raises:
        DataError: the files belong to several data sets, or some are missing.
    """
    for folders in ([root], [root / "raw"], sorted(root.glob("*/raw"))):
        found = {one: sets for one in folders if one.is_dir() and (sets := _sets(one))}
        if len(found) > 1:
            names = ", ".join(f"{one.relative_to(root).as_posix()}/" for one in found)
            raise DataError(
                f"{root} has several data sets, in {names}",
                f"Name one, such as {next(iter(found)).parent}.",
            )
        for folder, sets in found.items():
            if len(sets) > 1:
                names = ", ".join(name.rstrip("-") or "one without a prefix" for name in sets)
                raise DataError(
                    f"{folder} holds the IDX files of several data sets: {names}",
                    "Put each data set into a folder of its own.",
                )
            (files,) = sets.values()
            _require_whole(folder, files)
            return files
    return None


def _sets(folder: Path) -> dict[str, dict[Part, Path]]:
    """Files by the prefix of their names, then by part; decompressed files before gzipped ones."""
    sets: dict[str, dict[Part, Path]] = {}
    for path in sorted(folder.iterdir(), reverse=True):
        match = _NAME.fullmatch(path.name)
        if match and not path.is_dir():
            split = split_of(match["split"]) or "train"
            kind: Kind = "images" if match["kind"] == "images" else "labels"
            sets.setdefault(match["set"], {})[split, kind] = path
    return sets


def _require_whole(folder: Path, files: Mapping[Part, Path]) -> None:
    splits = {"train", *(split for split, _ in files)}
    missing = [
        f"{'t10k' if split == 'test' else split}-{kind}-…"
        for split in sorted(splits, reverse=True)
        for kind in ("images", "labels")
        if (split, kind) not in files
    ]
    if missing:
        raise DataError(
            f"{folder} has IDX files, but no {' and no '.join(missing)}",
            f"Needed are {_NEEDED}.",
        )


def _split(
    files: Mapping[Part, Path], split: SplitPart
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Images (N, H, W) as they are stored, and labels (N,) of any whole numbers."""
    image_file, label_file = files[split, "images"], files[split, "labels"]
    images, labels = (
        idx.load(path, limit=_LIMIT, hint=_HINT).array for path in (image_file, label_file)
    )
    if images.dtype != np.uint8 or images.ndim != 3:
        raise DataError(
            f"{image_file}: holds {images.dtype} of shape {images.shape}; grey images are uint8 of "
            "shape (images, height, width)",
            _HINT,
        )
    if not SMALLEST <= min(images.shape[1:]) <= max(images.shape[1:]) <= LARGEST:
        height, width = images.shape[1:]
        raise DataError(
            f"{image_file}: images of {width}×{height} pixels; {SMALLEST} to {LARGEST} pixels per "
            "side are supported",
            "Scale them first.",
        )
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{label_file}: holds {labels.dtype} of shape {labels.shape}; labels are whole numbers of "
            "shape (images,)",
            _HINT,
        )
    check_equal(image_file, len(images), label_file, len(labels))
    return images, labels
