"""Reading and writing IDX, the format of MNIST's files, with every bound of it checked.

The format (LeCun's MNIST page): two zero bytes, a byte for the type, a byte for the number of
dimensions, each dimension's size as a big-endian 32-bit integer, then the entries, the last
dimension varying fastest and each entry big-endian.

Files come from strangers: nothing they say is believed before it is checked. A gzip is told by its
first bytes, not by its name, and never decompressed further than its IDX header announces, so a
lying header or a gzip bomb costs neither memory nor time. This module knows nothing of data sets;
what the arrays mean, and whether they are genuine, is :mod:`mnist_cli.data.store`'s business.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

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
# The largest file known here, EMNIST digits' training images, has 180 MiB.
DEFAULT_LIMIT = 512 * 2**20
HINT = "Fetch it again with `mnist data fetch`, or name another folder with --data-dir."

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate cannot pack tighter than this (zlib's documentation, "Maximum Compression Factor").
_DEFLATE_MAX_RATIO = 1032
# bgzip writes one member every 64 KiB: 2,900 for the largest file known here.
_MAX_MEMBERS = 65_536
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Header:
    """What an IDX file announces: type and shape of its entries, and so every size."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def offset(self) -> int:
        """Where the entries begin, in bytes."""
        return 4 + 4 * len(self.shape)

    @property
    def total(self) -> int:
        """The whole file's size in bytes; Python's integers do not overflow."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Content:
    """A whole IDX file in memory.

    Attributes:
        path: where it was read.
        header: what it announced, and turned out to hold.
        raw: every byte of the decompressed file, header included.
        stored_md5: checksum of the file as it lies on disk, compressed or not.
        compressed: whether it was a gzip.
    """

    path: Path
    header: Header
    raw: npt.NDArray[np.uint8]
    stored_md5: str
    compressed: bool

    @property
    def array(self) -> npt.NDArray[Any]:
        """The entries in their shape and in this machine's byte order; bytes are a view."""
        entries = self.raw[self.header.offset :].view(self.header.dtype)
        native = entries.astype(self.header.dtype.newbyteorder("="), copy=False)
        return native.reshape(self.header.shape)

    def raw_md5(self) -> str:
        """Checksum of the decompressed file."""
        if not self.compressed:
            return self.stored_md5
        return hashlib.md5(self.raw.data, usedforsecurity=False).hexdigest()


def read_idx(path: Path | str, *, limit: int = DEFAULT_LIMIT, hint: str = HINT) -> npt.NDArray[Any]:
    """Read an IDX file, gzipped or not.

    Args:
        path: the file.
        limit: refuse what would hold more bytes than this.
        hint: the way out, for the error message.

    Returns:
        The entries in the file's shape, in native byte order.

    Raises:
        DataError: missing, unreadable, truncated, damaged, too big, or not IDX.
    """
    return load(path, limit=limit, hint=hint).array


def load(path: Path | str, *, limit: int = DEFAULT_LIMIT, hint: str = HINT) -> Content:
    """Like :func:`read_idx`, with the bytes and the checksum of what was read."""
    path = Path(path)
    try:
        with _open_regular(path) as file:
            return _load(path, file, limit)
    except _BadFileError as error:
        raise DataError(f"{path}: {error}", hint) from error
    except zlib.error as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error})", hint) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", hint) from error


def write_idx(path: Path | str, array: npt.NDArray[Any]) -> None:
    """Write ``array`` as IDX, gzipped where the name ends in ``.gz``; equal arrays, equal bytes.

    Raises:
        DataError: the format has no such type, too many dimensions, or an empty one.
    """
    path = Path(path)
    content = encode(array)
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def encode(array: npt.NDArray[Any]) -> bytes:
    """``array`` as the bytes of an IDX file; raises as :func:`write_idx` does."""
    code = next((c for c, dtype in TYPES.items() if dtype == array.dtype.newbyteorder(">")), None)
    if code is None or not 1 <= array.ndim <= MAX_DIMENSIONS or not array.size:
        raise DataError(f"IDX cannot hold {array.dtype} of shape {array.shape}")
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(TYPES[code]).tobytes()


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """What tells these arrays from all others: sha256 over types, shapes and entries.

    The same on machines of either byte order.
    """
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


class _BadFileError(Exception):
    """What is wrong with a file, without its name and the way out."""


class _Source(Protocol):
    """The decompressed bytes of a file, and the checksum of the stored ones at the end."""

    def read(self, size: int) -> bytes: ...


class _Plain:
    """A file as it is, hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        chunk = self._file.read(size)
        self.md5.update(chunk)
        return chunk


class _Gunzip:
    """The decompressed bytes of a gzip of one or more members, never more than asked for.

    zlib checks each member's CRC and length. :mod:`gzip` would not do: it takes trailing zeros
    for padding, and reads ahead of what is asked.
    """

    def __init__(self, stored: _Plain) -> None:
        self._stored = stored
        self._pending = b""
        self._members = 1
        self._engine = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end of the last member."""
        while True:
            if self._engine.eof and not self._next_member():
                return b""
            out = self._engine.decompress(self._pending, size)
            self._pending = self._engine.unconsumed_tail
            if out:
                return out
            if self._engine.eof or self._pending:
                continue
            self._pending = self._stored.read(_CHUNK)
            if not self._pending:
                raise _BadFileError("the gzip stream is cut off")

    def _next_member(self) -> bool:
        """Begin the member that follows, if one does."""
        rest = self._engine.unused_data
        if len(rest) < len(_GZIP_MAGIC):
            rest += self._stored.read(_CHUNK)
        if not rest:
            return False
        if not rest.startswith(_GZIP_MAGIC):
            raise _BadFileError("trailing bytes after the end of the gzip stream")
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise _BadFileError(f"a gzip of more than {_MAX_MEMBERS:,} members")
        self._engine, self._pending = zlib.decompressobj(wbits=31), rest
        return True


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file: a pipe would block for ever, a device might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _BadFileError("not a regular file")
    return path.open("rb", buffering=0)


def _load(path: Path, file: BinaryIO, limit: int) -> Content:
    """Read header, entries and end, each checked before the next is touched."""
    size = os.fstat(file.fileno()).st_size
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    stored = _Plain(file)
    source: _Source = _Gunzip(stored) if compressed else stored
    header = _read_header(source)
    _check_size(header, size, compressed, limit)
    raw = _read_entries(source, header)
    if source.read(1):
        raise _BadFileError(f"trailing bytes after the {header.total:,} that its header announces")
    return Content(path, header, raw, stored.md5.hexdigest(), compressed)


def _read_header(source: _Source) -> Header:
    """Read and check magic, type, number of dimensions and each dimension."""
    magic = _read_exactly(source, 4)
    if magic[:2] != b"\0\0":
        raise _BadFileError(_what_else(magic))
    if magic[2] not in TYPES:
        raise _BadFileError(f"not an IDX file: there is no type 0x{magic[2]:02x}")
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise _BadFileError(f"an IDX file of {magic[3]} dimensions, where 1 to {MAX_DIMENSIONS} go")
    sizes = _read_exactly(source, 4 * magic[3])
    shape = tuple(int(n) for n in np.frombuffer(sizes, dtype=">u4"))
    if 0 in shape:
        raise _BadFileError(f"an empty IDX file, of shape {shape}")
    return Header(TYPES[magic[2]], shape)


def _what_else(start: bytes) -> str:
    """Say what a file that is not IDX seems to be."""
    if start.lstrip().startswith(b"<"):
        return "not an IDX file but a web page, as a server's error or a log-in page"
    if start == b"PK\3\4":
        return "not an IDX file but a zip archive"
    return f"not an IDX file: it begins with {start.hex(' ')}, not with 00 00"


def _check_size(header: Header, stored: int, compressed: bool, limit: int) -> None:
    """Compare what the header announces with what the file can hold, before reading it."""
    total = header.total
    announced = f"its header announces {total:,} bytes (shape {header.shape})"
    if total > limit:
        raise _BadFileError(f"{announced}, more than the {limit:,} allowed here")
    if compressed:
        # A gzip of incompressible data is barely larger than they are.
        if total > stored * _DEFLATE_MAX_RATIO or stored > total * 1.01 + 65_536:
            raise _BadFileError(f"{announced}, which {stored:,} compressed bytes cannot be")
    elif total != stored:
        what = "truncated" if stored < total else "trailing bytes"
        raise _BadFileError(f"{what}: {announced}, the file has {stored:,}")


def _read_exactly(source: _Source, size: int) -> bytes:
    """Exactly ``size`` bytes of a header."""
    out = b""
    while len(out) < size:
        chunk = source.read(size - len(out))
        if not chunk:
            raise _BadFileError("truncated within its header" if out else "truncated: empty")
        out += chunk
    return out


def _read_entries(source: _Source, header: Header) -> npt.NDArray[np.uint8]:
    """The whole file as bytes: the header that was read, put back, and the entries."""
    raw = np.empty(header.total, dtype=np.uint8)
    raw[: header.offset] = np.frombuffer(_encode_header(header), dtype=np.uint8)
    filled = header.offset
    view = raw.data
    while filled < header.total:
        chunk = source.read(min(_CHUNK, header.total - filled))
        if not chunk:
            raise _BadFileError(f"truncated: {filled:,} of {header.total:,} bytes")
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return raw


def _encode_header(header: Header) -> bytes:
    """The bytes that announce ``header``."""
    code = next(code for code, dtype in TYPES.items() if dtype == header.dtype)
    sizes = np.array(header.shape, dtype=">u4").tobytes()
    return bytes([0, 0, code, len(header.shape)]) + sizes
