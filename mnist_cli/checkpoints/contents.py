"""What a checkpoint file holds, as plain values and tensors, and what was left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Container = Literal["zip", "stream", "tar", "safetensors"]
"""How a file is laid out: ``torch.save`` since 1.6, before 1.6, and before 0.2; safetensors."""


@dataclass(frozen=True)
class LeftOut:
    """An object that was not read, because only code that the file names could build it.

    Attributes:
        place: the keys that lead to it, by dots; empty for the file's whole contents.
        name: the class or function, safe for a terminal: ``__main__.Config``.
        module: whether it is a whole pickled network.
    """

    place: str
    name: str
    module: bool = False

    def __str__(self) -> str:
        return f"{self.place} ({self.name})" if self.place else self.name


@dataclass(frozen=True)
class Contents:
    """The contents of a checkpoint file.

    Attributes:
        document: plain types, tensors on the CPU, and :class:`Unread` where an object is left out.
        container: how the file is laid out.
        metadata: the texts in the header of a safetensors file; empty for others.
        left_out: the objects that were not read, in the file's order.
    """

    document: Mapping[str, Any]
    container: Container = "zip"
    metadata: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Unread:
    """Stands in a document where an object is left out, or for a class that it refers to.

    Attributes:
        name: the class or function, safe for a terminal.
        module: whether it is a whole pickled network.
    """

    name: str
    module: bool = False


class Unacceptable(Exception):
    """Why a file is refused, without its path.

    Args:
        reason: completes "FILE is refused: it …".
        hint: the way out; empty for the general one.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint
