"""Hashes of a checkpoint's parts: equal if and only if every bit is, apart from the clock's."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

PARTS = {
    "weights": ("model", "ema"),
    "optimiser": ("optimizers", "scaler"),
    "generators": ("generators",),
    "metrics": ("position", "running", "metrics"),
}
"""What a resumed run must share with one never stopped, and where a checkpoint holds it."""

CLOCKED = frozenset({"seconds", "images_per_second"})
"""What a clock decides, and no resuming can repeat."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digests(document: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 in hexadecimal of each of :data:`PARTS` of a checkpoint's document.

    Raises:
        TypeError: it holds something other than plain values and tensors.
    """
    return {part: digest([document[key] for key in keys]) for part, keys in PARTS.items()}


def digest(value: object) -> str:
    """SHA-256 over types, shapes and bits; tensors count in logical order, wherever they lie."""
    into = hashlib.sha256()
    _feed(into, value)
    return into.hexdigest()


def _feed(into: _Hash, value: object) -> None:
    into.update(f"{type(value).__name__}:".encode())
    if isinstance(value, Tensor):
        into.update(f"{value.dtype}{tuple(value.shape)}:".encode())
        into.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        entries = {repr(key): inner for key, inner in value.items() if key not in CLOCKED}
        into.update(f"{len(entries)}:".encode())
        for key in sorted(entries):
            _feed(into, key)
            _feed(into, entries[key])
    elif isinstance(value, list | tuple):
        into.update(f"{len(value)}:".encode())
        for inner in value:
            _feed(into, inner)
    else:
        _feed_plain(into, value)


def _feed_plain(into: _Hash, value: object) -> None:
    if isinstance(value, float):  # its bits: repr() knows one NaN only
        into.update(struct.pack("<d", value))
    elif value is None or isinstance(value, bool | int | str):
        text = str(value).encode()
        into.update(f"{len(text)}:".encode() + text)
    else:
        raise TypeError(f"no hash of a {type(value).__name__}")
