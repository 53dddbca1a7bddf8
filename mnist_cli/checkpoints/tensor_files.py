"""Reads safetensors: a JSON header with each tensor's dtype, shape and offsets, then the bytes.

The package ``safetensors`` is optional, for exports. The format is small enough to be read without
it. Source: github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mnist_cli.checkpoints.contents import Damaged, Unacceptable, safe_text
from mnist_cli.checkpoints.storages import fill, is_count, room, tensor_of

MAX_HEADER = 8 << 20
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def looks_like(data: bytes) -> bool:
    """Whether a file begins as safetensors do: a length, which is not text, and a brace."""
    return (
        min(data[:8], default=9) < 9
        and data[8:9] == b"{"
        and data[9:10] in (b'"', b"}", b" ", b"\n", b"")
    )


def read_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, with the shapes and dtypes in the header, and the metadata.

    Raises:
        Unacceptable: the file is damaged or hostile.
    """
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise Damaged(
            f"it is damaged: its safetensors header claims {length:,} bytes, more than the file or the limit of "
            f"{MAX_HEADER:,}"
        )
    header = _header(data[8 : 8 + length])
    metadata = _metadata(header.pop("__metadata__", {}))
    body = memoryview(data)[8 + length :]
    _check_coverage([_place(name, entry) for name, entry in header.items()], len(body))
    return {name: _tensor(name, entry, body) for name, entry in header.items()}, metadata


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise Damaged("its safetensors header is damaged: it is not JSON") from error
    if not isinstance(header, dict):
        raise Unacceptable("its safetensors header is not a table of tensors")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise Unacceptable("its safetensors header has a name twice")
    return table


def _metadata(texts: object) -> dict[str, str]:
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise Unacceptable("the metadata in its safetensors header are not texts")
    return texts


def _place(name: str, entry: object) -> tuple[int, int]:
    match entry:
        case {"dtype": str(), "shape": list(), "data_offsets": [begin, end]} if (
            type(begin) is int and type(end) is int
        ):
            return begin, end
    raise _damaged(name, "has no dtype, shape and offsets")


def _check_coverage(places: list[tuple[int, int]], size: int) -> None:
    """Check that each byte belongs to one tensor."""
    at = 0
    for begin, end in sorted(places):
        if begin != at or end < begin:
            raise Damaged("its safetensors header is damaged: tensors overlap or leave gaps")
        at = end
    if at != size:
        raise Damaged(
            f"it is damaged or cut short: its tensors have {at:,} bytes, the file has {size:,} for "
            "them"
        )


def _tensor(name: str, entry: Mapping[str, Any], body: memoryview) -> Tensor:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise _damaged(name, f"has the unknown dtype {safe_text(entry['dtype'], 20)}")
    begin, end = entry["data_offsets"]
    shape = entry["shape"]
    if not all(is_count(length, 1 << 62) for length in shape):
        raise _damaged(name, "has a negative or impossible shape")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise _damaged(name, "has another size than its bytes")
    storage = room(dtype, math.prod(shape))
    fill(storage, body[begin:end])
    return tensor_of(storage, 0, shape, _strides(shape))


def _strides(shape: list[int]) -> list[int]:
    """The strides of a tensor whose last axis varies fastest; zeros if it has no elements."""
    empty = 0 in shape
    return [0 if empty else math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _damaged(name: str, fault: str) -> Damaged:
    return Damaged(f"its safetensors header is damaged: tensor '{safe_text(name, 40)}' {fault}")
