"""Reads a CSV with an image in each line: pixels, and a label first or last, or no label.

Kaggle's MNIST has such files: ``label,pixel0,…,pixel783`` or ``label,1x1,…,28x28``. The header and
gzip are optional; spaces may separate the numbers, as ``numpy.savetxt`` writes them.
``numpy.loadtxt`` parses lines in blocks: 42,000 rows take 0.7 s.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from mnist_cli.data.file_kinds import GZIP
from mnist_cli.data.own_labels import Words
from mnist_cli.data.own_table import Layout, TableReader, named, unnamed
from mnist_cli.data.records import Rows, check_ratio
from mnist_cli.errors import DamagedError, DataError
from mnist_cli.vision.fitting import LARGEST

BLOCK = 4 << 20
"""Number of bytes of text that are parsed at once."""
LONGEST = 32 << 20
"""Maximum number of bytes of a line: a million pixels of 20 characters, and their names."""
MOST_COLUMNS = LARGEST**2 + 3
"""Maximum number of columns: the pixels of an image, a label, a counter, and an empty one."""

_DELIMITERS = (",", ";", "\t")
_HINT = "Write it again as UTF-8, with one image in each line."
_WORDS = "The first label is a word, so each label must be a word or a whole number."


@dataclass(frozen=True)
class _Block:
    """Consecutive lines; ``number`` is the number of the first line, from 1."""

    number: int
    lines: list[str]


@dataclass(frozen=True)
class Columns:
    """The format of a file, from its first line.

    Attributes:
        layout: the columns.
        delimiter: the text between columns; None is white space.
        header: whether the first line has their names.
        trailing: whether lines end with a delimiter.
    """

    layout: Layout
    delimiter: str | None
    header: bool
    trailing: bool


def columns_of(path: Path) -> Columns:
    """The columns of a file, by its first line.

    Raises:
        DataError: the file is not a CSV of images.
    """
    for block in _blocks(path, START):
        line = block.lines[0]
        delimiter = max(_DELIMITERS, key=line.count)
        separated = delimiter if delimiter in line else None
        count = line.count(delimiter) + 1 if separated else len(line.split())
        if count > MOST_COLUMNS:
            unnamed(path, count)  # refuses it
        names = _fields(f"{path}: line 1", line, separated)
        trailing = separated is not None and len(names) > 1 and not names[-1]
        names = names[:-1] if trailing else names
        header = _is_header(names)
        layout = named(path, names) if header else unnamed(path, len(names))
        return Columns(layout, separated, header, trailing)
    raise DataError(f"{path} has no rows", _HINT)


def read(path: Path) -> Rows:
    """Read all rows.

    Raises:
        DataError: the file is damaged, too large, or has other columns or values; names the line.
    """
    columns = columns_of(path)
    first = 1 + columns.header
    reader, words = None, Words()
    kind: type[Any] = np.int16
    for block in _blocks(path):
        if block.number == 1 and columns.header:
            block = _Block(2, block.lines[1:])
        if columns.trailing and columns.delimiter:
            lines = [line.rstrip().removesuffix(columns.delimiter) for line in block.lines]
            block = _Block(block.number, lines)
        if not block.lines:
            continue
        if reader is None:
            column = _word_column(path, columns, block)
            if column is not None:
                columns = replace(columns, layout=replace(columns.layout, label=column))
            reader = TableReader(path, columns.layout, lambda row: f"{path}: line {first + row}")
        if column is not None:
            block = _numbered(path, columns, block, column, words)
        table = _table(path, columns, block, kind)
        kind = table.dtype.type
        reader.add(table)
    if reader is None:
        raise DataError(f"{path} has no rows", _HINT)
    return words.named(reader.rows())


def _word_column(path: Path, columns: Columns, block: _Block) -> int | None:
    """The column of the label if the first row has a word there."""
    fields = _fields(f"{path}: line {block.number}", block.lines[0], columns.delimiter)
    possible = (one for one in columns.layout.labels() if one < len(fields))
    return next((one for one in possible if _is_word(fields[one])), None)


def _numbered(path: Path, columns: Columns, block: _Block, column: int, words: Words) -> _Block:
    """Lines with numbers in place of the labels, which are words."""
    lines = []
    for number, line in enumerate(block.lines, block.number):
        where = f"{path}: line {number}"
        fields = _fields(where, line, columns.delimiter)
        if column < len(fields):
            word = fields[column].strip()
            if not (_is_word(word) or word.isdecimal()):
                raise DataError(f"{where}: {word[:20]!a} is not a label", _WORDS)
            fields[column] = str(words.number([word])[0])
        lines.append((columns.delimiter or " ").join(fields))
    return _Block(block.number, lines)


START = 1 << 16
"""Number of bytes that are read for the first line, unless it is longer."""


def _blocks(path: Path, size: int = BLOCK) -> Iterator[_Block]:
    """The lines, without empty lines at the end.

    Raises:
        DataError: a line is too long, is not text, or the gzip is damaged.
    """
    number, rest, ended, done, packed = 1, b"", False, 0, path.stat().st_size
    try:
        with _opened(path) as file:
            while not ended:
                chunk = file.read(max(size, len(rest)))  # doubled within a long line
                ended = not chunk
                done += len(chunk)
                check_ratio(str(path), done, packed)
                text = rest + chunk
                # Empty lines wait, since they are ignored at the end of a file.
                whole = len(text.rstrip())
                cut = whole if ended else text.rfind(b"\n", 0, whole) + 1
                text, rest = text[:cut], text[cut:]
                _require_text(path, number, text, rest)
                if lines := _lines(path, number, text):
                    yield _Block(number, lines)
                    number += len(lines)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedError(f"{path}: the gzip stream is damaged or cut off ({error})") from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _require_text(path: Path, number: int, text: bytes, rest: bytes) -> None:
    for part, first in ((text, number), (rest, number + text.count(b"\n"))):
        if b"\0" in part:
            line = first + part[: part.index(b"\0")].count(b"\n")
            raise DataError(f"{path}: line {line} has NUL bytes, so it is not text", _HINT)
    if len(rest) > LONGEST:
        line = number + text.count(b"\n")
        raise DataError(f"{path}: line {line} has more than {LONGEST:,} bytes", _HINT)


def _lines(path: Path, number: int, text: bytes) -> list[str]:
    if number == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        lines = text.replace(b"\r\n", b"\n").decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = number + text[: error.start].count(b"\n")
        raise DataError(f"{path}: line {line} is not text in UTF-8", "Save it in UTF-8.") from error
    return lines[:-1] if lines[-1] == "" else lines


def _fields(where: str, line: str, delimiter: str | None) -> list[str]:
    """The fields of a line, at least one."""
    if delimiter is None:
        return line.split() or [""]
    if "\r" in line:
        raise DataError(
            f"{where} has carriage returns without line feeds", "End lines with line feeds."
        )
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        raise DataError(f"{where} is not CSV: {error}", _HINT) from error


def _is_header(names: Sequence[str]) -> bool:
    """Whether these are names: most are not numbers, or they count the columns, as from pandas."""
    numbers = [name for name in names if _is_number(name)]
    if len(numbers) < len(names) / 2:
        return True
    first = int(float(numbers[0]))
    counted = numbers == [str(one) for one in range(first, first + len(numbers))]
    return counted or _repeats_are_numbered(names)


def _repeats_are_numbered(names: Sequence[str]) -> bool:
    """Whether these are 0, 0.1, 0.2, …: pandas writes these if it took a row of zeros for names."""
    seen = Counter[str]()
    for name in names:
        value, _, number = name.partition(".")
        if number != (str(seen[value]) if seen[value] else ""):
            return False
        seen[value] += 1
    return len(seen) < len(names)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _is_word(text: str) -> bool:
    """Whether it is neither empty nor a number; NaN and infinity count as numbers."""
    try:
        float(text)
    except ValueError:
        return bool(text.strip())
    return False


def _table(path: Path, columns: Columns, block: _Block, kind: type[Any]) -> npt.NDArray[Any]:
    """The numbers (N, columns) of some lines: integers, or float64 from the first fraction on."""
    wanted = (len(block.lines), columns.layout.columns)
    for one in (kind, np.float64):
        try:
            table = np.loadtxt(
                block.lines,
                dtype=one,
                delimiter=columns.delimiter,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
        except ValueError:
            continue
        if table.shape == wanted:
            return table
    raise _wrong_line(path, columns, block)


def _wrong_line(path: Path, columns: Columns, block: _Block) -> DataError:
    """The error for the first wrong line."""
    for at, line in enumerate(block.lines, block.number):
        where = f"{path}: line {at}"
        fields = _fields(where, line, columns.delimiter) if line.strip() else []
        if len(fields) != (wanted := columns.layout.columns):
            return DataError(f"{where} has {len(fields):,} columns, not {wanted:,}", _HINT)
        for field in fields:
            if not _is_number(field):
                return DataError(
                    f"{where}: {field[:20]!a} is not a number",
                    "Pixels are numbers. So are labels, unless the first label is a word.",
                )
    last = block.number + len(block.lines) - 1
    return DataError(f"{path}: lines {block.number} to {last} are not a CSV of numbers", _HINT)
