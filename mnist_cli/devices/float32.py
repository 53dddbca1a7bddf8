"""How exactly torch multiplies float32 numbers: one setting with two interfaces.

``torch.set_float32_matmul_precision`` and ``torch.backends.cudnn.allow_tf32`` are the older interface.
The newer one is the attributes ``fp32_precision`` of ``torch.backends``; after their use, reading the
older one may raise an error.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

_USUAL: tuple[tuple[str, str], ...] = (
    # Each part passes its value on to later ones.
    ("", "none"),
    ("cudnn", "none"),
    ("cuda.matmul", "none"),
    ("mkldnn.matmul", "none"),
    ("cudnn.conv", "tf32"),
    ("cudnn.rnn", "tf32"),
    ("mkldnn.conv", "none"),
    ("mkldnn.rnn", "none"),
)
"""The parts of ``torch.backends`` with an attribute ``fp32_precision``, and torch's defaults."""


@dataclass(frozen=True)
class Products:
    """The setting: ``whole`` and ``tf32`` are the older interface's values, None if it raises."""

    whole: str | None
    tf32: bool | None
    parts: tuple[str, ...]

    @classmethod
    def now(cls) -> Products:
        """The setting of this process."""
        whole, tf32 = None, None
        with contextlib.suppress(RuntimeError):  # the newer interface has set another value
            whole = torch.get_float32_matmul_precision()
        with contextlib.suppress(RuntimeError):
            tf32 = torch.backends.cudnn.allow_tf32
        return cls(whole, tf32, tuple(_holder(name).fp32_precision for name, _ in _USUAL))

    def __str__(self) -> str:
        """The older interface's value, then what differs from it or from the defaults."""
        words = [self.whole or ""]
        for (name, usual), value in zip(_USUAL, self.parts, strict=True):
            if value in (usual, "ieee" if usual == "none" else usual):  # the same precision
                continue
            if self.whole is None or not name.endswith("matmul"):
                words.append(f"{name or 'torch.backends'} {value}")
        return ", ".join(filter(None, words))

    def apply(self) -> None:
        """Set it; attributes that already have their value still inherit it."""
        if self.whole is not None:
            torch.set_float32_matmul_precision(self.whole)
        if self.tf32 is not None:
            torch.backends.cudnn.allow_tf32 = self.tf32
        for (name, _), value in zip(_USUAL, self.parts, strict=True):
            if (holder := _holder(name)).fp32_precision != value:
                holder.fp32_precision = value


USUAL = Products("highest", True, tuple(value for _, value in _USUAL))
"""torch's defaults: products are exact in float32."""


def _holder(name: str) -> Any:
    holder = torch.backends
    for part in filter(None, name.split(".")):
        holder = getattr(holder, part)
    return holder
