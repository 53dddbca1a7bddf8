"""The contents of a checkpoint file, as plain values and tensors, and the objects left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mnist_cli.runs.other_folders import CONVERT

MAX_PLAIN = 1 << 23  # values and characters, each counted every time it is reached
MAX_DEPTH = 50
MAX_LEFT_OUT = 100
NAME_LENGTH = 80
RESAVE = "Save the weights alone: torch.save(model.state_dict(), 'weights.pt')."
AGAIN = "Copy or download it again."
NO_MEMORY = "tensor without plain memory"
"""Names a tensor that is left out: sparse, quantised, nested, or on no device."""
INNER_FILE = "tensor in a file of its own"
"""Names a tensor that is left out: pickle.dump wrote it."""
DISTRIBUTED = (
    "If it belongs to a distributed checkpoint whose source you trust, convert the folder: "
    f"{CONVERT} FOLDER weights.pt"
)

Container = Literal["zip", "stream", "tar", "pickle", "safetensors"]
"""The layout of a file: ``torch.save`` since 1.6, before 1.6, before 0.2; pickle; safetensors."""


class Unacceptable(Exception):
    """Why a file is refused, without its path.

    Args:
        reason: completes "FILE is refused: …", as in "it has too many entries".
        hint: the suggested fix; by default, to save the weights alone.
    """

    def __init__(self, reason: str, hint: str = RESAVE) -> None:
        super().__init__(reason)
        self.hint = hint


class Damaged(Unacceptable):
    """The file is damaged: another copy of it may be intact."""

    def __init__(self, reason: str, hint: str = AGAIN) -> None:
        super().__init__(reason, hint)


@dataclass(frozen=True, eq=False)
class Unread:
    """Replaces an object that is left out, or a class or function to which a file refers.

    Attributes:
        name: the class or function as the file names it: ``__main__.Config``.
        module: whether it is a whole pickled network.
    """

    name: str
    module: bool = False

    def __repr__(self) -> str:
        return safe_text(self.name)


@dataclass(frozen=True)
class LeftOut:
    """An object that was not read, because only code named by the file could build it.

    Attributes:
        place: the keys that lead to it, joined by dots; empty for the file's whole contents.
        name: the class or function, safe for a terminal.
        module: whether it is a whole pickled network.
        index: the same keys as Python writes them after the document: ``['net'][0]``.
    """

    place: str
    name: str
    module: bool = False
    index: str = ""

    def __str__(self) -> str:
        return f"{self.place} ({self.name})" if self.place else self.name


@dataclass(frozen=True)
class Contents:
    """The contents of a checkpoint file.

    Attributes:
        document: plain types, tensors on the CPU, and :class:`Unread` where an object is left out.
            numpy's arrays become tensors, its scalars and paths plain values, and namespaces
            dicts.
        container: the layout of the file.
        metadata: the texts in the header of a safetensors file; empty for others.
        left_out: the objects that were not read, in the file's order.
    """

    document: Any
    container: Container = "zip"
    metadata: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()


def safe_text(text: str, length: int = NAME_LENGTH) -> str:
    """The text without control characters for terminals, cut to ``length`` characters."""
    cut = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(one if one.isprintable() else "?" for one in cut)


def judge_contents(root: object, max_bytes: int) -> tuple[LeftOut, ...]:
    """List the objects left out; refuse contents that are small in a file but huge in memory.

    Args:
        root: the object that a file holds.
        max_bytes: limit for all its tensors together, counted as if none shared memory.

    Raises:
        Unacceptable: a limit is exceeded.
    """
    plain = held = 0
    left_out: list[LeftOut] = []
    place: list[object] = []

    def visit(value: object) -> None:
        nonlocal plain, held
        plain += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        held += _bytes(value) if isinstance(value, Tensor) else 0
        if plain > MAX_PLAIN or len(place) >= MAX_DEPTH:
            raise Unacceptable("it has too many plain values, or they are nested too deeply")
        if held > max_bytes:
            raise Unacceptable(f"its tensors claim more than {max_bytes:,} bytes")
        if isinstance(value, Unread) and len(left_out) < MAX_LEFT_OUT:
            left_out.append(LeftOut(_words(place), repr(value), value.module, _index(place)))
        for key, inner in _inner(value):
            place.append(key)
            visit(inner)
            place.pop()

    visit(root)
    return tuple(left_out)


def _inner(value: object) -> Iterable[tuple[object, object]]:
    """The elements of a container with their keys; a dict's keys too. Nothing for other values."""
    if isinstance(value, dict):
        return itertools.chain(value.items(), (("", key) for key in value))
    return enumerate(value) if isinstance(value, list | tuple | set | frozenset) else ()


def _words(keys: list[object]) -> str:
    return safe_text(".".join(str(key) if isinstance(key, str | int) else "…" for key in keys))


def _index(keys: list[object]) -> str:
    return safe_text("".join(f"[{key!r}]" for key in keys if isinstance(key, str | int)), 200)


def _bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's elements, which must be in its storage; 0 for sparse and meta tensors."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return 0
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise Damaged("a tensor claims more elements than the file holds")
    return size
