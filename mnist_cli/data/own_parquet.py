"""Reads Parquet as in Hugging Face's MNIST: a column ``image`` with a PNG's bytes, and ``label``.

Columns of pixels are read too, as pandas writes them from a CSV. pyarrow reads the file with
limited memory: a page of a few bytes can claim two gigabytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.data.own_labels import Words, whole
from mnist_cli.data.own_table import LABELS, TableReader, named
from mnist_cli.data.records import Rows, check_count, listed, of_pictures
from mnist_cli.errors import DamagedError, DataError, DependencyError, first_line
from mnist_cli.vision.fitting import IN_WORDS, SIDE, SMALLEST, fit

OLDEST = (14, 0, 1)
"""Older versions of pyarrow run code in a Parquet file (CVE-2023-47248)."""
ROOM = 1 << 30
"""Maximum bytes that one step of pyarrow may allocate."""
BATCH = 64
"""Rows that are read at once: few, since all may refer to one large value."""
MAX_FOOTER = 8 << 20
"""Maximum bytes of the footer: it lists each row group's columns; 60 groups of 784 take 5 MB."""
MOST_COLUMNS = 20_000
"""Maximum number of columns: each costs pyarrow some 10 KB."""
_MAX_THRIFT = 1 << 24
_MAX_CONTAINER = 100_000
_IMAGES = ("image", "img", "picture", "images")
_LAYOUT = "The file needs a column image with the bytes of PNGs, and a column label with numbers or words."


def read(path: Path) -> Rows:
    """Read all rows of one file.

    Raises:
        DataError: the file is damaged, too large, or has other columns.
        DependencyError: pyarrow is too old to be safe.
        ImportError: pyarrow is missing.
    """
    arrow = _pyarrow()
    try:
        _check_footer(path)
        with _limited():
            file = _opened(path)
        with file:
            check_count(path, file.metadata.num_rows)
            return _read(path, file)
    except MemoryError as error:  # pyarrow's too
        raise DataError(
            f"{path}: {BATCH} rows of this Parquet file need more than {ROOM:,} bytes",
            "Write it again with smaller pictures, in row groups of 1,000 rows.",
        ) from error
    except (arrow.ArrowException, OSError, OverflowError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise DamagedError(f"{path} is a damaged Parquet file: {first_line(error):.200}") from error


def _pyarrow() -> Any:
    # pyarrow's own allocator reserves a gigabyte at its first use: use it before the limit.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow
    import pyarrow.parquet

    pyarrow.allocate_buffer(64)
    version = tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdecimal())
    if version < OLDEST:
        raise DependencyError(
            f"pyarrow {pyarrow.__version__} can run code that a Parquet file holds: refused",
            "Update it with: pip install --upgrade pyarrow",
        )
    return pyarrow


def _check_footer(path: Path) -> None:
    """Refuse a long footer before pyarrow turns it into objects.

    Raises:
        DataError: the footer is too long.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
    if length > MAX_FOOTER:
        raise DamagedError(
            f"{path}: its footer claims {length:,} bytes, more than {MAX_FOOTER:,}; the file may be "
            "damaged"
        )


def _opened(path: Path) -> Any:
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(
        path,
        memory_map=False,
        pre_buffer=False,
        buffer_size=1 << 20,
        thrift_string_size_limit=_MAX_THRIFT,
        thrift_container_size_limit=_MAX_CONTAINER,
    )


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Let this process take at most :data:`ROOM` more bytes, if the system supports a limit."""
    if sys.platform == "win32":
        yield
        return
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):  # macOS has no such file
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + ROOM
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _read(path: Path, file: Any) -> Rows:
    schema = file.schema_arrow
    names = list(schema.names)
    image = next((one for one in names if one.lower() in _IMAGES), None)
    if image is None:
        return _table(path, file, names)
    labels = [one for one in names if one.lower() in LABELS]
    if len(labels) > 1:
        raise DataError(f"{path} has {len(labels)} columns of labels", _LAYOUT)
    label = labels[0] if labels else None
    ignored = [ascii(one)[1:-1] for one in names if one not in (image, label)]
    reader = _Pictures(path, file.metadata.num_rows)
    leaf = _leaf(path, schema.field(image))
    for batch in _batches(file, columns=[leaf, *labels]):
        reader.add(batch.column(image), None if label is None else batch.column(label))
    rows = reader.rows(_class_names(schema, label))
    if not ignored:
        return rows
    remark = f"columns not used: {listed(ignored)}"
    return replace(rows, remarks=(*rows.remarks, remark))


def _batches(file: Any, **options: Any) -> Iterator[Any]:
    """The rows in parts, each read within the limit."""
    with _limited():
        batches = file.iter_batches(BATCH, use_threads=False, **options)
    while True:
        with _limited():
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _leaf(path: Path, field: Any) -> str:
    """The column that holds a picture's bytes: the field ``bytes`` of a struct, or itself."""
    import pyarrow.types as types

    inner = field.type
    if types.is_struct(inner) and inner.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes"
    plain = inner.value_type if types.is_dictionary(inner) else inner
    if types.is_binary(plain) or types.is_large_binary(plain):
        return str(field.name)
    raise DataError(f"{path}: the column {field.name} holds {inner}, not pictures"[:300], _LAYOUT)


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
    """Names of the classes, which Hugging Face stores beside the columns; else empty."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    good = isinstance(names, list) and all(isinstance(one, str) for one in names)
    return tuple(names) if good and len(set(names)) == len(names) else ()


def _table(path: Path, file: Any, names: list[str]) -> Rows:
    """Rows of a file with a column per pixel."""
    layout, words = named(path, names), Words()
    reader = TableReader(path, layout, lambda row: f"{path}: row {row}")
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{path} has {len(names):,} columns; {MOST_COLUMNS:,} are supported", _LAYOUT
        )
    for batch in _batches(file):
        columns = [
            _label_numbers(path, one, words) if number == layout.label else _numbers(path, one)
            for number, one in enumerate(batch.columns)
        ]
        reader.add(np.column_stack(columns))
    return words.named(reader.rows())


def _label_numbers(path: Path, column: Any, words: Words) -> npt.NDArray[Any]:
    """A column of labels (N,): numbers, or words as :class:`Words` numbers them."""
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if column.null_count or not (types.is_string(kind) or types.is_large_string(kind)):
        return _numbers(path, column)
    names = column.to_pylist()
    if not all(map(str.strip, names)):
        raise DataError(f"{path} has an empty label", _LAYOUT)
    return np.array(words.number(names), dtype=np.int64)


def _numbers(path: Path, column: Any) -> npt.NDArray[Any]:
    """A column of numbers without gaps (N,).

    Raises:
        DataError: the column holds something else.
    """
    import pyarrow.types as types

    plain = types.is_integer(column.type) or types.is_floating(column.type)
    if not (plain or types.is_boolean(column.type)) or column.null_count:
        what = "an empty value" if column.null_count else f"{column.type}"
        raise DataError(f"{path} has {what:.100} where numbers are expected", _LAYOUT)
    numbers: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return numbers


class _Pictures:
    """Turns batches of encoded pictures into images and labels."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._images = bytearray()  # grows in place: the count may be false
        self._claimed = count
        self._labels: list[npt.NDArray[np.int64]] = []
        self._words = Words()
        self._others = 0
        self._changes = Counter[str]()
        self._count = 0

    def add(self, pictures: Any, labels: Any) -> None:
        """Add a batch: a column of structs or bytes, and a column of numbers or None."""
        import pyarrow.types as types

        start = self._count
        column = pictures.field("bytes") if types.is_struct(pictures.type) else pictures
        if labels is not None:
            numbers = _label_numbers(self._path, labels, self._words)
            self._labels.append(whole(numbers, self._place, start))
        check_count(self._path, start + len(column))
        for value in column:
            self._images += self._picture(value.as_py()).tobytes()
            self._count += 1

    def _place(self, row: int) -> str:
        return f"{self._path}: row {row}"

    def _picture(self, data: bytes | None) -> npt.NDArray[np.uint8]:
        from mnist_cli.vision.image_files import decode

        where = self._place(self._count)
        if data is None:
            raise DataError(f"{where} has no picture", _LAYOUT)
        picture = decode(data, where)
        if min(picture.grey.shape) < SMALLEST:
            raise DataError(
                f"{where}: the picture has fewer than {SMALLEST} pixels per side",
                "Scale it first.",
            )
        self._changes.update(picture.remarks)
        self._others += picture.grey.shape != (SIDE, SIDE)
        return fit(picture.grey)

    def rows(self, names: tuple[str, ...]) -> Rows:
        """All rows added so far."""
        if not self._count or self._count != self._claimed:
            raise DamagedError(f"{self._path} has {self._count:,} rows, not {self._claimed:,}")
        images = np.frombuffer(self._images, dtype=np.uint8).reshape(-1, SIDE, SIDE)
        labels = np.concatenate(self._labels) if self._labels else None
        remarks = of_pictures(self._changes, self._count)
        if self._others:
            sizes = f"{self._others:,} of {self._count:,} images are not 28×28: {IN_WORDS}"
            remarks = (*remarks, sizes)
        return self._words.named(Rows(images, labels, names, remarks))
