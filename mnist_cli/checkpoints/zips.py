"""Reads the zip that ``torch.save`` writes since 1.6: a pickle, and an entry for each storage.

torch checks no CRC. Here the archive is checked before its pickle is read. Entries must be stored
uncompressed, so that nothing unpacks to more than the file's size, and every CRC must be right.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Mapping

import torch

from mnist_cli.checkpoints.contents import (
    AGAIN,
    DISTRIBUTED,
    Damaged,
    Unacceptable,
    Unread,
    safe_text,
)
from mnist_cli.checkpoints.foreign_kinds import PROGRAMS, ZIPS, name_zip
from mnist_cli.checkpoints.pickles import read_pickle
from mnist_cli.checkpoints.storages import Storage, dtype_of, fill, is_count, room

MAX_ENTRIES = 50_000
_LOCAL_HEADER = struct.Struct("<26xHH")
_END = b"PK\x05\x06"
"""What the record at the end of a zip begins with."""


def read_zip(data: bytes) -> object:
    """The object in an archive of torch.save.

    Raises:
        Unacceptable: the archive is damaged or hostile, or holds something else.
    """
    entries = _entries(data)
    pickle = next((name for name in entries if name.partition("/")[2] == "data.pkl"), None)
    if pickle is None:
        raise Unacceptable("it is a zip, but not one that torch.save wrote")
    folder = pickle.removesuffix("data.pkl")
    storages = _Stored(entries, f"{folder}data/", _swapped(entries.get(f"{folder}byteorder")))
    return read_pickle(io.BytesIO(entries[pickle]), storages.persistent)


def _swapped(order: memoryview | None) -> bool:
    """Whether the file's byte order is not this machine's; files before torch 2.1 name none."""
    if order is None:
        return False
    name = bytes(order)
    if name not in {b"little", b"big"}:
        raise Damaged("it is damaged: its byte order is neither little nor big")
    return name != sys.byteorder.encode()


def _entries(data: bytes) -> Mapping[str, memoryview]:
    """The bytes of each entry by its name, after checking all entries."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _name(entries)
            _judge_entries(entries, len(data))
            if not any(entry.CRC for entry in entries):  # set_crc32_options(False)
                for entry in entries:
                    del entry.CRC  # zipfile then compares none
            if damaged := archive.testzip():
                raise Damaged(f"it is damaged: the checksum of {damaged!r:.80} is wrong")
        return {entry.filename: _stored(data, entry) for entry in entries}
    except (Unacceptable, MemoryError):
        raise
    except Exception as error:  # zipfile lets struct.error and others through
        if data.count(_END) > 1:  # since 2025, zipfile refuses several zips in one file
            raise Damaged(
                f"it is damaged, or holds several zips: {safe_text(str(error), 200)}",
                f"{AGAIN} {DISTRIBUTED}",
            ) from error
        raise Damaged(f"it is damaged or cut short: {safe_text(str(error), 200)}") from error


def _name(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse archives of other kinds first, so that the message names their kind."""
    names = [entry.filename for entry in entries[:MAX_ENTRIES]]
    known = any(name.partition("/")[2] == "data.pkl" for name in names)
    name_zip(names, PROGRAMS if known else PROGRAMS + ZIPS)


def _judge_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    names = {entry.filename for entry in entries}
    if len(entries) > MAX_ENTRIES or len(names) != len(entries):
        raise Unacceptable("it has too many entries, or two with the same name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Unacceptable(
            "a checkpoint's entries are not compressed",
            "Unpack it, and zip the folder again without compression: zip -0 -r FILE FOLDER.",
        )
    if any(entry.compress_size != entry.file_size for entry in entries):
        raise Damaged("it is damaged: an entry has two sizes")
    if min((entry.header_offset for entry in entries), default=0):
        raise Damaged(
            "it is damaged, or holds several zips: its first entry is not at its beginning",
            f"{AGAIN} {DISTRIBUTED}",
        )
    if sum(entry.file_size for entry in entries) > size:
        raise Damaged("it is damaged: its entries claim more bytes than the file has")


def _stored(data: bytes, entry: zipfile.ZipInfo) -> memoryview:
    """An entry's bytes, which follow the entry's own header in the file."""
    name, extra = _LOCAL_HEADER.unpack_from(data, entry.header_offset)
    start = entry.header_offset + _LOCAL_HEADER.size + name + extra
    return memoryview(data)[start : start + entry.file_size]


class _Stored:
    """The storages of an archive, read when a pickle names them."""

    def __init__(self, entries: Mapping[str, memoryview], prefix: str, swapped: bool) -> None:
        self.entries, self.prefix, self.swapped = entries, prefix, swapped
        self.read: dict[str, Storage] = {}

    def persistent(self, identity: object) -> object:
        match identity:
            case ("storage", Unread() | torch.dtype() as kind, str() as key, _, count):
                return self._storage(key, dtype_of(kind), count)
        raise Damaged("its contents cannot be read (a storage without its size)")

    def _storage(self, key: str, dtype: torch.dtype, count: object) -> Storage:
        data = self.entries.get(f"{self.prefix}{key}")
        if data is None:
            raise Damaged("it is damaged: the bytes of a tensor cannot be read")
        if not is_count(count, len(data) // dtype.itemsize):
            raise Damaged("a storage claims more elements than the file holds")
        if key not in self.read:
            self.read[key] = room(torch.uint8, len(data))
            fill(self.read[key], data)
            if self.swapped:
                _swap(self.read[key], dtype)
        return Storage(self.read[key].data, dtype, 0, count)


def _swap(storage: Storage, dtype: torch.dtype) -> None:
    """Turn big-endian elements into little-endian ones, or vice versa."""
    width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    storage.data.copy_(storage.data.view(-1, width).flip(1).reshape(-1))
