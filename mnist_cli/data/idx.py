"""Reads IDX, the format of MNIST's files.

The format (LeCun's MNIST page): two zero bytes; a byte for the type; a byte for the number of
dimensions; each dimension's size as a big-endian 32-bit integer. Then follow the entries, in
big-endian byte order, with the last dimension varying fastest.

Files are not trusted. The first bytes decide whether a file is a gzip, not its name. A gzip is
never decompressed further than its IDX header announces, so a false header or a gzip bomb costs
neither memory nor time. This module knows no data sets: :mod:`mnist_cli.data.store` decides what
the arrays mean, and whether they are genuine.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import absence
from mnist_cli.errors import DataError

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 4
# The largest file of a known data set, EMNIST digits' training images, has 180 MiB.
DEFAULT_LIMIT = 512 * 2**20
HINT = "Fetch it again with `mnist data fetch`, or name another data directory."

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate cannot pack tighter than this (zlib's documentation, "Maximum Compression Factor").
_DEFLATE_MAX_RATIO = 1032
_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class Content:
    """A whole IDX file in memory.

    Attributes:
        path: the file.
        array: its entries in their shape and in this machine's byte order.
        raw: every byte of the decompressed file, header included, (bytes,), uint8.
        stored_md5: checksum of the file on disk, compressed or not.
        compressed: whether it was a gzip.
    """

    path: Path
    array: npt.NDArray[Any]
    raw: npt.NDArray[np.uint8]
    stored_md5: str
    compressed: bool

    def raw_md5(self) -> str:
        """Checksum of the decompressed file."""
        return _md5(self.raw) if self.compressed else self.stored_md5


def load(path: Path | str, *, limit: int = DEFAULT_LIMIT, hint: str = HINT) -> Content:
    """Read an IDX file, gzipped or not, of at most ``limit`` decompressed bytes.

    Raises:
        DataError: the file is missing, unreadable, truncated, damaged, too big, or not IDX.
    """
    path = Path(path)
    try:
        return _load(path, limit)
    except _BadFileError as error:
        raise DataError(f"{path}: {error}", hint) from error
    except EOFError as error:
        raise DataError(f"{path}: the gzip stream is cut off", hint) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error})", hint) from error
    except FileNotFoundError as error:
        raise DataError(f"{path} {absence(path)}", hint) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", hint) from error


def header_of(array: npt.NDArray[Any]) -> bytes:
    """The header of an IDX file of an array of any shape; the big-endian entries follow it.

    Raises:
        ValueError: IDX has no such type.
    """
    codes = {known.newbyteorder("="): code for code, known in TYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        raise ValueError(f"IDX has no type {array.dtype}")
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """A sha256 over the types, shapes and entries of arrays: it differs if the arrays do.

    It is the same on machines of either byte order.
    """
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


class _BadFileError(Exception):
    """The fault of a file, without its name and a hint."""


def _md5(content: npt.NDArray[np.uint8]) -> str:
    return hashlib.md5(content.data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class _Header:
    """The first bytes of an IDX file, and the type and shape that they announce."""

    start: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def total(self) -> int:
        """The whole file's size in bytes; Python's integers do not overflow."""
        return len(self.start) + math.prod(self.shape) * self.dtype.itemsize


def _load(path: Path, limit: int) -> Content:
    """Read a file whose header announces at most ``limit`` bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device might never end
        raise _BadFileError("not a regular file")
    # A gzip of incompressible data is barely larger than the data.
    if status.st_size > limit * 1.01 + 65_536:
        raise _BadFileError(
            f"it has {status.st_size:,} bytes, more than the {limit:,} allowed here"
        )
    stored = np.fromfile(path, dtype=np.uint8)
    compressed = stored[:2].tobytes() == _GZIP_MAGIC
    if compressed:
        header, raw = _gunzip(stored, limit)
    else:
        header, raw = _read_header(io.BytesIO(stored[:20].tobytes()), limit), stored
    _check_size(header, len(raw))
    entries = raw[len(header.start) :].view(header.dtype)
    native = entries.astype(header.dtype.newbyteorder("="), copy=False)
    return Content(path, native.reshape(header.shape), raw, _md5(stored), compressed)


def _gunzip(stored: npt.NDArray[np.uint8], limit: int) -> tuple[_Header, npt.NDArray[np.uint8]]:
    """The header, and the decompressed file, up to one byte more than the header announces."""
    with gzip.GzipFile(fileobj=io.BytesIO(stored.data)) as file:
        header = _read_header(file, limit)
        if header.total > len(stored) * _DEFLATE_MAX_RATIO:
            raise _BadFileError(
                f"{_announced(header)}, more than {len(stored):,} compressed bytes can hold"
            )
        raw = np.empty(header.total + 1, dtype=np.uint8)
        filled = len(header.start)
        raw.data[:filled] = header.start
        while count := file.readinto(raw.data[filled : filled + _CHUNK]):
            filled += count
    return header, raw[:filled]


def _read_header(file: io.BufferedIOBase, limit: int) -> _Header:
    """Read and check magic, type, number of dimensions and each dimension."""
    magic = file.read(4)
    if len(magic) < 4:
        raise _BadFileError("truncated within its header" if magic else "truncated: empty")
    if magic[:2] != b"\0\0":
        raise _BadFileError(_what_else(magic))
    if magic[2] not in TYPES:
        raise _BadFileError(f"not an IDX file: type 0x{magic[2]:02x} does not exist")
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise _BadFileError(f"it has {magic[3]} dimensions; 1 to {MAX_DIMENSIONS} are supported")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise _BadFileError("truncated within its header")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    header = _Header(magic + sizes, TYPES[magic[2]], shape)
    if 0 in shape:
        raise _BadFileError(f"an empty IDX file, of shape {shape}")
    if header.total > limit:
        raise _BadFileError(f"{_announced(header)}, more than the {limit:,} allowed here")
    return header


def _what_else(start: bytes) -> str:
    """Name the probable kind of a file that is not IDX."""
    if start.lstrip().startswith(b"<"):
        return "not an IDX file but a web page, such as an error or log-in page"
    if start == b"PK\3\4":
        return "not an IDX file but a zip archive"
    return f"not an IDX file: it begins with {start.hex(' ')}, not with 00 00"


def _check_size(header: _Header, size: int) -> None:
    """Compare the size that the header announces with that of the decompressed file."""
    if size > header.total:
        raise _BadFileError(f"trailing bytes: {_announced(header)}, the file has more")
    if size < header.total:
        raise _BadFileError(f"truncated: {_announced(header)}, the file has {size:,}")


def _announced(header: _Header) -> str:
    return f"its header announces {header.total:,} bytes (shape {header.shape})"
