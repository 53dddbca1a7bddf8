"""Hashes of a checkpoint's parts: equal if and only if all bits are equal, except clock times."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

PARTS = {
    "weights": ("model", "ema"),
    "optimiser": ("optimizers", "scaler"),
    "generators": ("generators",),
    "metrics": ("position", "running", "metrics", "steps"),
}
"""The parts that a resumed and an uninterrupted run must share, and their keys in a checkpoint."""

CLOCKED = frozenset({"seconds", "images_per_second"})
"""Measurements of a clock: no resumed run repeats them."""


def digests(document: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 in hexadecimal of each of :data:`PARTS` of a checkpoint's document.

    Raises:
        TypeError: the document holds something other than plain values and tensors.
    """
    return {part: digest([document.get(key) for key in keys]) for part, keys in PARTS.items()}


def digest(value: object) -> str:
    """SHA-256 over types, shapes and bits; tensors count in logical order, in any memory layout."""
    sha256 = hashlib.sha256()
    for part in _parts(value):
        sha256.update(part)
    return sha256.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    yield f"{type(value).__name__}:".encode()
    if isinstance(value, Tensor):
        yield f"{value.dtype}{tuple(value.shape)}:".encode()
        yield value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        entries = {repr(key): inner for key, inner in value.items() if key not in CLOCKED}
        yield f"{len(entries)}:".encode()
        for key in sorted(entries):
            yield from _parts(key)
            yield from _parts(entries[key])
    elif isinstance(value, list | tuple):
        yield f"{len(value)}:".encode()
        for inner in value:
            yield from _parts(inner)
    elif isinstance(value, float):  # its bits: repr() knows one NaN only
        yield struct.pack("<d", value)
    elif value is None or isinstance(value, bool | int | str):
        text = str(value).encode()
        yield f"{len(text)}:".encode() + text
    else:
        raise TypeError(f"cannot hash a {type(value).__name__}")
