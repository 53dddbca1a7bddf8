"""The bytes of tensors, as containers hold them, and the tensors on these bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from mnist_cli.checkpoints.contents import Damaged, Unacceptable, Unread

_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
    "Untyped": torch.uint8,
}
"""The dtype by the beginning of a storage class's name: ``Float`` for ``FloatStorage``."""

MAX_AXES = 32


@dataclass(frozen=True, eq=False)
class Storage:
    """Elements of one dtype in bytes on the CPU, from ``start`` on.

    Attributes:
        data: the bytes (N,), uint8.
        dtype: of the elements.
        start: the first element.
        count: number of elements.
    """

    data: Tensor
    dtype: torch.dtype
    start: int
    count: int

    def viewed_as(self, dtype: torch.dtype) -> Storage:
        """The same bytes as elements of another dtype."""
        start, count = (n * self.dtype.itemsize // dtype.itemsize for n in (self.start, self.count))
        return replace(self, dtype=dtype, start=start, count=count)

    def part(self, offset: object, count: object) -> Storage:
        """Some of the elements.

        Raises:
            Unacceptable: some elements are outside.
        """
        if not is_count(offset, self.count) or not is_count(count, self.count - offset):
            raise Damaged("a storage claims more elements than the file holds")
        return replace(self, start=self.start + offset, count=count)


def is_count(value: object, most: int) -> TypeGuard[int]:
    """Whether it is an integer from 0 to ``most``."""
    return type(value) is int and 0 <= value <= most


def dtype_of(kind: object) -> torch.dtype:
    """The dtype of a storage or tensor class, of any device: ``torch.cuda.FloatStorage``.

    Raises:
        Unacceptable: it is no such class.
    """
    if isinstance(kind, torch.dtype):
        return kind
    leaf = kind.name.rpartition(".")[2] if isinstance(kind, Unread) else ""
    dtype = _DTYPES.get(leaf.removesuffix("Storage").removesuffix("Tensor"))
    if dtype is None:
        raise Unacceptable(f"it has a storage of an unknown type, {kind!r:.80}")
    return dtype


def room(dtype: torch.dtype, count: int) -> Storage:
    """An uninitialised storage for ``count`` elements."""
    return Storage(torch.empty(count * dtype.itemsize, dtype=torch.uint8), dtype, 0, count)


def space(storage: Storage) -> memoryview:
    """The storage's bytes, writable."""
    return memoryview(cast(bytearray, storage.data.numpy()))  # an array is a buffer as well


def fill(storage: Storage, data: memoryview) -> None:
    """Copy ``data``, of the storage's size, into the storage."""
    space(storage)[:] = data


def tensor_of(storage: Storage, offset: Any, size: Any, stride: Any) -> Tensor:
    """The tensor of shape ``size`` on a storage, which may hold other tensors too.

    Raises:
        Unacceptable: some elements are not in the storage.
    """
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride) or len(size) > MAX_AXES:
        raise Unacceptable("a tensor has too many axes, or sizes without strides")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in (*size, *stride, offset)):
        raise Unacceptable("a tensor has a negative or impossible size")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.count:
        raise Damaged("a tensor claims more elements than the file holds")
    whole = torch.empty(0, dtype=storage.dtype)
    first = storage.start + offset if 0 not in size else 0
    return whole.set_(storage.data.untyped_storage(), first, size, stride)
