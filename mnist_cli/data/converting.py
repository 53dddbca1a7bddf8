"""Writes a data set as IDX files, or as a folder of PNGs by class: all of it, or nothing.

Everything is written into a folder beside the target, which takes its name at the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import (
    alive,
    explain_os_error,
    host_name,
    is_there,
    removing_empty,
    sync,
    sync_folder,
    temporary_for,
)
from mnist_cli.data import idx
from mnist_cli.data.load import load_samples
from mnist_cli.data.own_data import path_of, read_raw
from mnist_cli.data.records import Arrays, Raw, listed
from mnist_cli.errors import OutputError

TargetFormat = Literal["idx", "png"]
Progress = Callable[[int, int], None]

_IDX_NAMES = {"train": "train", "val": "val", "test": "t10k"}
_UNSAFE = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
_STEP = 500


@dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        folder: the written folder.
        counts: images by split.
        classes: their names when read back, by label.
        remarks: one sentence for each change by reading and writing.
    """

    folder: Path
    counts: Mapping[str, int]
    classes: tuple[str, ...]
    remarks: tuple[str, ...]


def source(name: str, root: Path, say: Callable[[str], None] | None = None) -> Raw:
    """A data set as it is stored, without a test set held out by this program.

    Args:
        name: a data set of the catalogue, or a path to the user's own.
        root: the data directory.
        say: called with a line of text before each slow step.

    Raises:
        DataError: the data set is not available, or is damaged.
    """
    own = path_of(name)
    if own is not None:
        return read_raw(own, say)
    splits, data = load_samples(name, root, say)
    train, test = (Arrays(splits[one].images, splits[one].labels) for one in ("train", "test"))
    return Raw(data.spec.classes, train, test, data.remarks)


def check_target(folder: Path) -> None:
    """Refuse a folder that exists, unless it is empty.

    Raises:
        OutputError: it exists and is not an empty folder.
    """
    try:
        if is_there(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise OutputError(f"{folder} already exists", "Choose a folder that does not.")
    except OSError as error:
        raise explain_os_error(error, folder, "write") from error


def convert(raw: Raw, folder: Path, kind: TargetFormat, progress: Progress | None) -> Converted:
    """Write a data set into a new folder.

    Args:
        raw: the data set.
        folder: the folder, which must not exist, or be empty.
        kind: IDX files, or PNGs in ``train/CLASS/``.
        progress: called with the number of images written so far, and the total number.

    Raises:
        OutputError: the folder exists or cannot be written. Then nothing is left behind.
    """
    check_target(folder)
    splits = {"train": raw.train, "val": raw.val, "test": raw.test}
    present = {name: arrays for name, arrays in splits.items() if arrays is not None}
    step = _Step(sum(map(len, present.values())), progress)
    try:
        with _new_folder(folder) as place:
            write = _write_idx if kind == "idx" else _write_pngs
            classes, remarks = write(raw.classes, present, place, step)
            if kind == "png" and hasattr(os, "sync"):
                os.sync()  # one call: 70,000 files take minutes one by one
    except OSError as error:
        raise explain_os_error(error, folder, "write") from error
    counts = {name: len(arrays) for name, arrays in present.items()}
    return Converted(folder, counts, classes, (*raw.remarks, *remarks))


@dataclass
class _Step:
    """Counts images, and reports progress every :data:`_STEP` images."""

    total: int
    progress: Progress | None
    done: int = 0

    def add(self, count: int) -> None:
        before, self.done = self.done, self.done + count
        crossed = before // _STEP != self.done // _STEP or self.done == self.total
        if self.progress and crossed:
            self.progress(self.done, self.total)


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that takes the name ``folder`` when the block ends without an error."""
    with removing_empty(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(folder)
        place = temporary_for(folder)
        place.mkdir()
        try:
            yield place
            if is_there(folder):
                folder.rmdir()
            place.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _clear_stale(folder: Path) -> None:
    """Remove the leftovers of conversions to this folder that were killed on this machine."""
    for path in folder.parent.glob(f".{re.sub('[*?[]', '?', folder.name)}.{host_name()}.*.tmp"):
        number = path.name.split(".")[-2]
        if path.is_dir() and number.isdecimal() and not alive(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _write_idx(
    classes: tuple[str, ...], splits: Mapping[str, Arrays], place: Path, step: _Step
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write two files for each split under MNIST's names; labels keep their numbers."""
    numbers = [int(name) if _is_label(name) else -1 for name in classes]
    remarks: tuple[str, ...] = ()
    if numbers != sorted(set(numbers)) or -1 in numbers:
        numbers = list(range(len(classes)))
        pairs = [f"{number} {name}" for number, name in enumerate(classes)]
        remarks = (f"IDX files have no class names, only numbers: {listed(pairs, 10)}",)
    values = np.array(numbers, dtype=np.uint8 if max(numbers) < 256 else np.int32)
    for name, arrays in splits.items():
        prefix = _IDX_NAMES[name]
        _save(place / f"{prefix}-images-idx3-ubyte", arrays.images)
        kind = "ubyte" if values.dtype == np.uint8 else "int"
        _save(place / f"{prefix}-labels-idx1-{kind}", values[arrays.labels])
        step.add(len(arrays))
    return tuple(map(str, numbers)), remarks


def _is_label(name: str) -> bool:
    """Whether a class's name is a number that IDX files can hold."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name and int(name) < 2**31


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        file.write(idx.header_of(array))
        file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">")).data)
        sync(file)


def _write_pngs(
    classes: tuple[str, ...], splits: Mapping[str, Arrays], place: Path, step: _Step
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write ``train/CLASS/00007.png`` and so on; the number is the image's index in its split."""
    from PIL import Image

    folders = _folder_names(classes)
    changed = [
        f"{one} as {other}" for one, other in zip(classes, folders, strict=True) if one != other
    ]
    remarks = (f"classes renamed to be folder names: {listed(changed, 10)}",) if changed else ()
    for name, arrays in splits.items():
        width = max(5, len(str(len(arrays) - 1)))
        for number in np.unique(arrays.labels).tolist():
            (place / name / folders[number]).mkdir(parents=True)
        for row, (image, label) in enumerate(zip(arrays.images, arrays.labels, strict=True)):
            path = place / name / folders[label] / f"{row:0{width}}.png"
            Image.fromarray(image).save(path, "PNG")
            step.add(1)
    return tuple(folders), remarks


def _folder_names(classes: tuple[str, ...]) -> list[str]:
    """Names of folders that every system allows, all different, and not hidden."""
    names = [_UNSAFE.sub("-", name).strip(" .") for name in classes]
    names = [f"class {name}" if not name or name.startswith("__") else name for name in names]
    if len({name.casefold() for name in names}) < len(names):
        names = [f"{number:03} {name}" for number, name in enumerate(names)]
    return names
