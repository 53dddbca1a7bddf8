"""numpy's arrays, scalars and dtypes in pickles, as numpy 1 and 2 write them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mnist_cli.checkpoints.contents import Unread

_CODE = re.compile(r"[?bBhHiIlLqQefdFD]|[biufc](1|2|4|8|16)|[US][1-9]\d{0,5}")
_SCALARS = re.compile(r"numpy\.(bool_?|str_|bytes_|(u?int|float|complex)(8|16|32|64|128|c|_)?)")
_TENSORS = "biufc"
"""NumPy's codes for bool, signed, unsigned, floating and complex dtypes: torch has most of these."""


@dataclass(frozen=True)
class Dtype:
    """A dtype of numbers or texts."""

    code: str
    order: str = "="

    def ordered(self, state: tuple[object, ...]) -> Dtype:
        """The dtype with the byte order of its state: (version, order, …).

        Raises:
            TypeError: the state has no byte order.
        """
        order = state[1]
        if isinstance(order, str) and order in {"<", ">", "=", "|"}:
            return Dtype(self.code, order)
        raise TypeError("a dtype without a byte order")

    def of_numpy(self) -> np.dtype[np.generic]:
        """The corresponding dtype of numpy."""
        swapped = (self.order == "<") is (sys.byteorder == "big") and self.order in "<>"
        return np.dtype(self.code).newbyteorder("S" if swapped else "=")


def is_scalar_type(name: str) -> bool:
    """Whether it is a type of numbers or texts, such as ``numpy.float32``."""
    return _SCALARS.fullmatch(name) is not None


def _dtype(code: object, *_align_and_copy: object) -> object:
    """A dtype by its code; dtypes of objects, records and others are not read."""
    if isinstance(code, str) and _CODE.fullmatch(code):
        return Dtype(code)
    return Unread("numpy.dtype")


def _scalar(dtype: object, raw: object = b"") -> object:
    if not isinstance(dtype, Dtype):
        return Unread("numpy.core.multiarray.scalar")
    (value,) = np.frombuffer(_raw(raw), dtype.of_numpy())
    return value.item()


def _blank(_kind: object, *_shape_and_code: object) -> object:
    """An array before its state is set; arrays of subclasses are not read."""
    return Unread(_kind.name) if isinstance(_kind, Unread) else Unread("numpy.ndarray")


def array(state: tuple[object, ...]) -> object:
    """The tensor of an array's state: (version, shape, dtype, columns first, bytes).

    Returns:
        None if the array holds something other than numbers that torch supports.
    """
    *_version, shape, dtype, columns_first, raw = state
    return _tensor(shape, dtype, raw, "F" if columns_first else "C")


def _from_buffer(raw: object, dtype: object, shape: object, order: object) -> object:
    """An array as protocol 5 writes it."""
    tensor = _tensor(shape, dtype, raw, "F" if order == "F" else "C")
    return Unread("numpy.ndarray") if tensor is None else tensor


def _tensor(shape: object, dtype: object, raw: object, order: str) -> torch.Tensor | None:
    if not isinstance(dtype, Dtype) or not isinstance(shape, tuple):
        return None
    kind = dtype.of_numpy()
    if kind.kind not in _TENSORS or kind.itemsize > 8 * (1 + (kind.kind == "c")):
        return None
    if not all(type(length) is int and length >= 0 for length in shape):
        raise TypeError("a shape of something else than lengths")
    data = _raw(raw)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError("an array of another size than its bytes")
    values = np.frombuffer(data, kind).reshape(shape[::-1] if order == "F" else shape)
    native = values.astype(kind.newbyteorder("="))  # a copy, which torch may write to
    return torch.from_numpy(native.T if order == "F" else native)


def _raw(raw: object) -> bytes:
    """The bytes; Python 2 and protocols before 3 write a text."""
    if isinstance(raw, str):
        return raw.encode("latin-1")
    if isinstance(raw, bytes | bytearray):
        return bytes(raw)
    raise TypeError("an array without bytes")


BUILDERS: dict[str, Callable[..., object]] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _blank,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
"""By name, with numpy 1's package names."""
