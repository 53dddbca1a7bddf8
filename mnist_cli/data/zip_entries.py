"""Lists the entries of an untrusted zip, after checking that its directory is small."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mnist_cli.errors import DamagedError, DataError

MAX_DIRECTORY = 16 << 20
"""Maximum bytes of the list of some 100,000 entries. zipfile turns the whole list into objects."""

_ENCRYPTED = 1
_END = b"PK\5\6"
_END_SIZE = 22
_COMMENT = 1 << 16
_END64, _END64_SIZE = b"PK\6\6", 56
_LOCATOR, _LOCATOR_SIZE = b"PK\6\7", 20


@contextlib.contextmanager
def entries(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The open archive and its entries.

    Raises:
        DataError: the archive is damaged or encrypted, or has too many entries.
    """
    try:
        if _directory_size(path) > MAX_DIRECTORY:
            raise DataError(f"{path}: a zip with too many entries", "Write it with fewer arrays.")
        with zipfile.ZipFile(path) as archive:
            listing = archive.infolist()
            if any(one.flag_bits & _ENCRYPTED for one in listing):
                raise DataError(f"{path} is encrypted", "Save it again without a password.")
            yield archive, listing
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, ValueError) as error:
        raise DamagedError(f"{path} is a damaged zip: {error!s:.200}") from error


def _directory_size(path: Path) -> int:
    """Bytes of the list of entries, according to the archive's last record.

    Zips of more than 4 GB, and all zips of torch, have another record before it, which zipfile uses
    instead.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_SIZE - _COMMENT))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise zipfile.BadZipFile("its end is missing")
    if tail[max(0, at - _LOCATOR_SIZE) : at].startswith(_LOCATOR):
        record = tail[max(0, at - _LOCATOR_SIZE - _END64_SIZE) : at - _LOCATOR_SIZE]
        if not record.startswith(_END64):
            raise zipfile.BadZipFile("its end is damaged")
        size64: int = struct.unpack_from("<Q", record, 40)[0]
        return size64
    size32: int = struct.unpack_from("<I", tail, at + 12)[0]
    return size32
