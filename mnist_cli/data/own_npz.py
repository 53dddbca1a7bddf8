"""Reads an .npz of NumPy with images and labels, such as Keras's MNIST (``x_train``, ``y_train``).

Arrays are read by their headers, never by pickle, and their sizes are checked before anything is
unpacked.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mnist_cli.data.levels import Levels
from mnist_cli.data.own_labels import whole
from mnist_cli.data.records import MAX_IMAGES, Rows, check_count, check_equal, check_ratio, listed
from mnist_cli.data.zip_entries import entries
from mnist_cli.errors import DamagedError, DataError, first_line
from mnist_cli.vision.fitting import IN_WORDS, LARGEST, SIDE, SMALLEST, fit

LIMIT = 8 << 30
"""Maximum bytes of an array: a million images of 28×28 in float64 have 6.3 GB. Read in parts."""
MOST_LABELS = 128 << 20
"""Maximum bytes of the labels."""
LONGEST_HEADER = 1 << 16
_PART = 16 << 20

_SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "val", "validation": "val"},
}
_IMAGES = {"x", "image", "images", "img", "imgs", "data", "features", "pixels"}
_LABELS = {"y", "label", "labels", "target", "targets", "class", "classes"}
_HINT = (
    "Name the arrays x_train, y_train, x_test and y_test: "
    'numpy.savez("data.npz", x_train=…, y_train=…, x_test=…, y_test=…).'
)

_NUMBERS = "Save numbers: numpy.savez with arrays of uint8."


@dataclass(frozen=True)
class _Array:
    """An array as its header describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def bytes(self) -> int:
        """Its size; Python's integers do not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


def read(path: Path) -> dict[str, Rows]:
    """The images by split, ``train`` first; a file with one split has it as ``train``.

    Raises:
        DataError: the file is damaged, too large, of objects, or without images; names the array.
    """
    with entries(path) as (archive, listing):
        every = [one.filename.removesuffix(".npy") for one in listing]
        names = _by_meaning(path, every)
        with _whole_archive(path):
            splits = {
                split: _rows(path, archive, names, split)
                for split in ("train", "val", "test")
                if (split, "images") in names
            }
    if unused := [ascii(name)[1:-1] for name in every if name not in names.values()]:
        remark = f"arrays not used: {listed(unused)}"
        splits = {
            split: replace(rows, remarks=(*rows.remarks, remark)) for split, rows in splits.items()
        }
    return splits if "train" in splits else {"train": next(iter(splits.values()))}


def pair_of(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """The file of images and the file of labels of a split, by their names; None if it is no pair.

    ``k49-train-imgs.npz`` and ``k49-train-labels.npz`` are a pair.
    """
    if len(paths) != 2 or any(path.suffix.lower() != ".npz" for path in paths):
        return None
    for images, labels in (paths, paths[::-1]):
        one, other = _words(images.stem), _words(labels.stem)
        if len(one) == len(other):
            different = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
            if len(different) == 1 and different[0][0] in _IMAGES and different[0][1] in _LABELS:
                return images, labels
    return None


def read_pair(images: Path, labels: Path) -> Rows:
    """The split of a pair of files, each with one array.

    Raises:
        DataError: as :func:`read`, or their numbers of images and labels differ.
    """
    with _only_array(images) as (archive, name):
        pixels, remarks = _images(images, archive, name)
    with _only_array(labels) as (archive, name):
        numbers = _labels(labels, archive, name)
    check_equal(images, len(pixels), labels.name, len(numbers))
    return Rows(pixels, numbers, remarks=remarks)


@contextlib.contextmanager
def _only_array(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    with entries(path) as (archive, listing), _whole_archive(path):
        if len(listing) != 1:
            raise DataError(f"{path} has {len(listing)} arrays, not one", _HINT)
        yield archive, listing[0].filename.removesuffix(".npy")


@contextlib.contextmanager
def _whole_archive(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DamagedError(f"{path} is damaged: {error!s:.200}") from error


def _by_meaning(path: Path, names: list[str]) -> Mapping[tuple[str, str], str]:
    """The names of the arrays by split and kind, such as ("train", "images")."""
    if len(set(names)) != len(names):
        raise DataError(f"{path} has two arrays with the same name", _HINT)
    known: dict[tuple[str, str], str] = {}
    for name in names:
        key = _meaning(name)
        if key in known:
            raise DataError(f"{path}: {known[key]} and {name} are both {key[0]} {key[1]}", _HINT)
        if key is not None:
            known[key] = name
    words = set(_words(path.stem))
    if len(names) == 1 and not known and words & _IMAGES and words & _SPLITS.keys():
        known["train", "images"] = names[0]  # the images of a pair
    if not any(kind == "images" for _, kind in known):
        shown = listed([ascii(name)[1:-1] for name in names], 8)
        raise DataError(f"{path} has no array of images by a known name: {shown}", _HINT)
    return known


def _meaning(name: str) -> tuple[str, str] | None:
    """The split and kind that a name such as ``x_train``, ``trainLabels`` or ``images`` means."""
    words = _words(name)
    splits = [_SPLITS[word] for word in words if word in _SPLITS]
    others = [word for word in words if word not in _SPLITS]
    kind = "images" if others[:1] and others[0] in _IMAGES else ""
    kind = "labels" if others[:1] and others[0] in _LABELS else kind
    if len(splits) > 1 or len(others) != 1 or not kind:
        return None
    return (splits or ["train"])[0], kind


def _words(name: str) -> list[str]:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace("-", "_").split("_")


def _rows(
    path: Path, archive: zipfile.ZipFile, names: Mapping[tuple[str, str], str], split: str
) -> Rows:
    images, remarks = _images(path, archive, names[split, "images"])
    name = names.get((split, "labels"))
    if name is None:
        return Rows(images, None, remarks=remarks)
    labels = _labels(path, archive, name)
    check_equal(f"{names[split, 'images']} of {path}", len(images), name, len(labels))
    return Rows(images, labels, remarks=remarks)


def _images(
    path: Path, archive: zipfile.ZipFile, name: str
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    where = f"{path}: {name}"
    levels = Levels(lambda row: f"{where}, image {row}")
    with archive.open(f"{name}.npy") as file:
        array = _header(where, file, name)
        height, width = _size(where, array.shape)
        check_count(path, array.shape[0])
        _require_numbers(where, array, archive)
        images = np.empty((array.shape[0], SIDE, SIDE), dtype=np.uint8)
        if array.fortran:
            if array.bytes > MAX_IMAGES * SIDE * SIDE:
                raise DataError(
                    f"{where} has {array.bytes:,} bytes in Fortran order, too many to reorder",
                    "Save it with numpy.ascontiguousarray.",
                )
            stored = _whole(where, file, array).reshape(-1, height, width)
            _fill(images, stored, levels, 0)
        else:
            per_part = max(1, _PART // (height * width * array.dtype.itemsize))
            for start in range(0, len(images), per_part):
                count = min(per_part, len(images) - start)
                values = _take(where, file, count * height * width, array.dtype)
                _fill(images, values.reshape(count, height, width), levels, start)
        _require_end(where, file)
    remarks = levels.finish(images)
    if (height, width) != (SIDE, SIDE):
        remarks = (*remarks, f"images are {width}×{height}: {IN_WORDS}")
    return images, remarks


def _fill(
    images: npt.NDArray[np.uint8], values: npt.NDArray[Any], levels: Levels, start: int
) -> None:
    """Write values (n, H, W) of any type into ``images`` from row ``start`` on."""
    step = max(1, (_PART // 8) // (values.shape[1] * values.shape[2]))
    for at in range(0, len(values), step):
        part = levels.of(values[at : at + step])
        if part.shape[1:] != (SIDE, SIDE):
            part = np.stack([fit(image) for image in part])
        images[start + at : start + at + len(part)] = part


def _labels(path: Path, archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.int64]:
    """Labels (N,), also if stored as (N, 1), or one-hot with one column per class."""
    where = f"{path}: {name}"
    with archive.open(f"{name}.npy") as file:
        array = _header(where, file, name)
        if len(array.shape) not in (1, 2) or array.bytes > MOST_LABELS:
            raise DataError(f"{where} has the shape {array.shape}; labels have (images,)", _HINT)
        _require_numbers(where, array, archive)
        stored = _whole(where, file, array)
        _require_end(where, file)
    if stored.ndim == 2 and stored.shape[1] > 1:
        if not (((stored == 0) | (stored == 1)).all() and (stored.sum(1) == 1).all()):
            raise DataError(f"{where} has the shape {array.shape}; labels have (images,)", _HINT)
        return whole(stored.argmax(1), lambda row: f"{where}, image {row}")
    return whole(stored.reshape(-1), lambda row: f"{where}, image {row}")


def _header(where: str, file: IO[bytes], name: str) -> _Array:
    """Read an array's header."""
    from numpy.lib import format as npy

    try:
        start = file.read(12)
        # Version 1 has two bytes for the header's length, version 2 has four: up to 4 GB.
        if start[6:7] == b"\2" and int.from_bytes(start[8:12], "little") > LONGEST_HEADER:
            raise ValueError("its header is too long")
        kept = io.BytesIO(start + file.read(_header_size(start) - len(start)))
        version = npy.read_magic(kept)
        read_header = {
            (1, 0): npy.read_array_header_1_0,
            (2, 0): npy.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"format {version} is not supported")
        with warnings.catch_warnings():  # a header of Python 2
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read_header(kept)
    except Exception as error:  # NumPy's parser lets tokenize.TokenError and others through
        raise DamagedError(f"{where} is not a NumPy array: {first_line(error):.100}") from error
    if any(size < 0 for size in shape):
        raise DamagedError(f"{where} is damaged: its shape is {shape}")
    return _Array(name, shape, dtype, fortran)


def _header_size(start: bytes) -> int:
    """Total bytes of magic, header's length and header, from the first 12 bytes."""
    if start[6:7] == b"\2":
        return 12 + int.from_bytes(start[8:12], "little")
    return max(12, 10 + int.from_bytes(start[8:10], "little"))


def _require_numbers(where: str, array: _Array, archive: zipfile.ZipFile) -> None:
    """Refuse objects, and a size larger than the archive's, before anything is unpacked."""
    if array.dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which can run code when they are read: refused",
            _NUMBERS,
        )
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} holds {array.dtype}, not numbers", _NUMBERS)
    entry = archive.getinfo(f"{array.name}.npy")
    held = entry.file_size
    if array.bytes > min(LIMIT, held):
        raise DamagedError(
            f"{where}: its header announces {array.bytes:,} bytes (shape {array.shape}), more than "
            f"the {min(LIMIT, held):,} {'allowed' if held > LIMIT else 'that it has'}"
        )
    check_ratio(where, array.bytes, entry.compress_size)


def _size(where: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of images (N, H, W), (N, H, W, 1), (N, 1, H, W) or (N, H·W)."""
    inner = tuple(size for size in shape[1:] if size != 1)
    if len(inner) == 1 and math.isqrt(inner[0]) ** 2 == inner[0]:
        inner = (math.isqrt(inner[0]),) * 2
    if shape[:1] == (0,):
        raise DamagedError(f"{where} has no images")
    if len(inner) != 2:
        raise DataError(
            f"{where} has the shape {shape}; grey images have (images, height, width) or "
            "(images, height × width)",
            _HINT,
        )
    if not SMALLEST <= min(inner) <= max(inner) <= LARGEST:
        raise DataError(
            f"{where}: images of {inner[1]}×{inner[0]} pixels; {SMALLEST} to {LARGEST} pixels per "
            "side are supported",
            "Scale them first.",
        )
    return inner[0], inner[1]


def _whole(where: str, file: IO[bytes], array: _Array) -> npt.NDArray[Any]:
    flat = _take(where, file, math.prod(array.shape), array.dtype)
    return flat.reshape(array.shape, order="F" if array.fortran else "C")


def _take(where: str, file: IO[bytes], count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The next ``count`` numbers (count,), in this machine's byte order."""
    wanted = count * dtype.itemsize
    data = bytearray()
    while len(data) < wanted:
        part = file.read(min(_PART, wanted - len(data)))
        if not part:
            raise DamagedError(f"{where} is cut off")
        data += part
    values = np.frombuffer(data, dtype=dtype)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _require_end(where: str, file: IO[bytes]) -> None:
    """Refuse trailing bytes; the read at the end also compares the CRC."""
    if file.read(1):
        raise DamagedError(f"{where} has more bytes than its header announces")
