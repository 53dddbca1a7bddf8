"""Reads files that torch wrote before 1.6: pickles one after another, then the tensors' bytes.

Neither layout has checksums. A storage gets memory only if the file is large enough to hold its
elements. Source of both layouts: torch's own reader, ``_legacy_load`` in
``torch/serialization.py``.
"""

from __future__ import annotations

import io
import itertools
import struct
import tarfile
from typing import Any

import torch

from mnist_cli.checkpoints.contents import Damaged, Unacceptable, Unread
from mnist_cli.checkpoints.pickles import read_pickle
from mnist_cli.checkpoints.storages import Storage, dtype_of, is_count, room, space, tensor_of

MAGIC = 0x1950A86A20F9469CFC6C
VERSIONS = {1001}
MAX_MEMBERS = 100
MAX_TAR = 64 << 20  # its parts are copied
CUT_SHORT = "it is damaged or cut short: the bytes of its tensors are missing"


def read_after_magic(stream: io.BytesIO) -> object:
    """The object of a file whose first pickle, :data:`MAGIC`, has been read.

    Raises:
        Unacceptable: the file is damaged, hostile, or of an unknown version.
    """
    if read_pickle(stream, no_storage) not in VERSIONS:
        raise Unacceptable("its version of torch's format before 1.6 is unknown")
    read_pickle(stream, no_storage)  # sizes of integers, byte order: the storages do not vary
    storages = _Claims(_size(stream))
    document = read_pickle(stream, storages.persistent)
    keys = read_pickle(stream, no_storage)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.claimed):
        raise Damaged("it is damaged: its list of storages is not that of its tensors")
    for key in keys:
        _read_elements(stream, storages.claimed[str(key)])
    return document


def no_storage(_identity: object) -> object:
    """For pickles without tensors.

    Raises:
        Unacceptable: always.
    """
    raise Damaged("its contents cannot be read (a tensor without a place in the file)")


class _Claims:
    """The storages that a pickle names; each gets memory before its bytes are read."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.claimed: dict[str, Storage] = {}

    def persistent(self, identity: object) -> object:
        match identity:
            case ("module", Unread() as kind, _, _):
                return Unread(kind.name, module=True)
            case ("storage", kind, str() as key, _, count, None):
                return self._claim(key, dtype_of(kind), count)
            case ("storage", kind, str() as key, _, count, (_, offset, length)):
                return self._claim(key, dtype_of(kind), count).part(offset, length)
        raise Damaged("its contents cannot be read (a storage without its size)")

    def _claim(self, key: str, dtype: torch.dtype, count: object) -> Storage:
        known = self.claimed.get(key)
        if known is not None:
            if known.dtype != dtype or known.count != count:
                raise Damaged("it is damaged: two tensors disagree about their storage")
            return known
        if not is_count(count, self.left // dtype.itemsize):
            raise Damaged(CUT_SHORT)
        self.left -= count * dtype.itemsize
        self.claimed[key] = room(dtype, count)
        return self.claimed[key]


def _read_elements(stream: io.BytesIO, storage: Storage) -> None:
    """A storage's bytes: the number of elements (int64), and the elements, little-endian."""
    if _unpack(stream, "<q") != (storage.count,):
        raise Damaged("it is damaged: a storage has another size than its tensors say")
    if stream.readinto(space(storage)) != len(storage.data):
        raise Damaged(CUT_SHORT)


def _size(stream: io.BytesIO) -> int:
    """Number of bytes in the stream; a view of them would prevent closing it."""
    position = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(position)
    return size


def _unpack(stream: io.BytesIO, layout: str) -> tuple[Any, ...]:
    data = stream.read(struct.calcsize(layout))
    if len(data) != struct.calcsize(layout):
        raise Damaged(CUT_SHORT)
    return struct.unpack(layout, data)


def read_tar(data: bytes) -> object | None:
    """The object in a tar of torch 0.1; None if it is a tar of something else.

    Raises:
        Unacceptable: the tar is damaged or hostile.
    """
    if len(data) > MAX_TAR:
        raise Unacceptable(f"it is a tar of more than {MAX_TAR:,} bytes")
    members = _members(data)
    if not {"pickle", "storages", "tensors"} <= members.keys():
        return None
    storages = _tar_storages(io.BytesIO(members["storages"]))
    placed = storages | _tar_tensors(io.BytesIO(members["tensors"]), storages)

    def persistent(identity: object) -> object:
        match identity:
            case (Unread() as kind, _, _):
                return Unread(kind.name, module=True)
            case int() | str():
                return placed[int(identity)]
        raise Damaged("its contents cannot be read (a tensor without its number)")

    document: object = read_pickle(io.BytesIO(members["pickle"]), persistent)
    return document


def _members(data: bytes) -> dict[str, bytes]:
    """The plain files of a tar; sparse files are not read, since they can claim any size."""
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in itertools.islice(tar, MAX_MEMBERS):
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                    end = member.offset_data + member.size
                    files[member.name.removeprefix("./")] = data[member.offset_data : end]
    except (tarfile.TarError, ValueError, OSError) as error:
        raise Damaged("it is a damaged tar") from error
    return files


def _tar_storages(stream: io.BytesIO) -> dict[int, Any]:
    """Storages by number: for each, a pickle with number, device and type, then the elements."""
    placed: dict[int, Any] = {}
    left = _size(stream)
    for _ in range(_count(stream)):
        key, _device, kind = read_pickle(stream, no_storage)
        dtype = dtype_of(kind)
        (count,) = _unpack(stream, "<q")
        if not is_count(count, left // dtype.itemsize):
            raise Damaged(CUT_SHORT)
        stream.seek(-8, io.SEEK_CUR)
        placed[int(key)] = room(dtype, count)
        _read_elements(stream, placed[int(key)])
    for target, root, offset, count in read_pickle(stream, no_storage):
        placed[int(target)] = placed[int(root)].part(offset, count)
    return placed


def _tar_tensors(stream: io.BytesIO, storages: dict[int, Any]) -> dict[int, Any]:
    """Tensors by number: each has a pickle with number, storage and type, then sizes and strides."""
    placed = {}
    for _ in range(_count(stream)):
        key, storage, _kind = read_pickle(stream, no_storage)
        axes, _padding = _unpack(stream, "<ii")
        if not is_count(axes, 32):
            raise Damaged("it is damaged: a tensor has too many axes")
        size, stride = _unpack(stream, f"<{axes}q"), _unpack(stream, f"<{axes}q")
        (offset,) = _unpack(stream, "<q")
        placed[int(key)] = tensor_of(storages[int(storage)], offset, size, stride)
    return placed


def _count(stream: io.BytesIO) -> int:
    count = read_pickle(stream, no_storage)
    if not is_count(count, _size(stream)):
        raise Damaged("it is damaged: the number of its tensors is invalid")
    return int(count)
