"""The values that a backward node saves.

Reads the saved values of single nodes through :mod:`mnist_cli.autograd.torch_private` and unpacks
nothing. Knows neither graphs nor which tensors share memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from mnist_cli.autograd import torch_private
from mnist_cli.autograd.bits import tensors_in
from mnist_cli.autograd.node import name
from mnist_cli.autograd.torch_errors import freed


@dataclass
class Kept:
    """The values that a node saves: tensors by slot, plain values, and what cannot be read."""

    tensors: list[tuple[str, Tensor]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def saved_by(node: Node) -> Kept:
    """Read the values that a node saves, without unpacking anything.

    A tensor packed by a saved-tensor hook is reported as packed: unpacking it might recompute a
    whole checkpointed segment.

    Raises:
        UsageError: the graph was freed.
    """
    found = Kept()
    if torch_private.is_function(node):
        _read_custom(node, found)
    else:
        _read_slots(node, found, "")
    inner = torch_private.wrapped_node(node)
    if inner is not None:
        _read_slots(inner, found, f"{name(inner)}.")
    elif name(node) == "CopySlices":
        found.unreadable.append("the node that it wraps is hidden in this version of torch")
    return found


def unusable(node: Node) -> Iterator[tuple[str, str]]:
    """Saved tensors that torch refuses to hand out, as (slot, ``"freed"`` or ``"overwritten"``).

    Tensors packed by a saved-tensor hook are not tried: unpacking might recompute a segment.
    """
    for slot, raw, read in _saved_tensors(node):
        packed = raw if isinstance(raw, (tuple, list)) else (raw,)
        if any(getattr(one, "unpack_hook", None) is not None for one in packed):
            continue
        try:
            read()
        except RuntimeError as error:
            text = str(error)
            if "freed" in text:
                yield slot, "freed"
            elif "modified by an inplace operation" in text:
                yield slot, "overwritten"


def _saved_tensors(node: Any) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    """Every slot that holds tensors: its name, what is packed there, and how to unpack it."""
    if torch_private.is_function(node):
        try:
            raw = torch_private.raw_saved_of_function(node)
        except RuntimeError:  # freed: the public view says so too
            raw = None
        yield "saved_tensors", raw, lambda: node.saved_tensors
        return
    inner: Node | None = torch_private.wrapped_node(node)
    both: list[tuple[Node, str]] = [(node, "")]
    if inner is not None:
        both.append((inner, f"{name(inner)}."))
    for one, prefix in both:
        for slot, is_tensor in torch_private.slots(type(one)):
            if is_tensor:
                read = functools.partial(torch_private.saved, one, slot)
                yield prefix + slot, torch_private.raw_saved(one, slot), read


def _read_slots(node: Node, found: Kept, prefix: str) -> None:
    for slot, is_tensor in torch_private.slots(type(node)):
        if is_tensor:
            raw = torch_private.raw_saved(node, slot)
            tensor = getattr(raw, "data", None)
            if type(tensor) is Tensor:  # the usual case, short
                found.tensors.append((prefix + slot, tensor))
            else:
                _read_raw(node, slot, raw, found, prefix)
            continue
        value = _public(node, functools.partial(torch_private.saved, node, slot))
        plain, readable = _plain(value)
        if readable:
            found.attributes[prefix + slot] = plain
        else:
            found.unreadable.append(f"{prefix}{slot}: a {type(value).__name__}")


def _read_raw(node: Node, slot: str, raw: Any, found: Kept, prefix: str) -> None:
    if not isinstance(raw, tuple):
        _take(node, prefix + slot, raw, lambda: torch_private.saved(node, slot), found)
        return
    for position, one in enumerate(raw):
        read = functools.partial(lambda p: torch_private.saved(node, slot)[p], position)
        _take(node, f"{prefix}{slot}[{position}]", one, read, found)


def _public(node: Node, read: Callable[[], Any]) -> Any:
    """A slot as torch shows it, with tensors unpacked and checked; or torch's error."""
    try:
        return read()
    except RuntimeError as error:
        if "freed" in str(error):
            raise freed(name(node)) from error
        return error


def _take(node: Node, slot: str, raw: Any, read: Callable[[], Any], found: Kept) -> None:
    """File one saved tensor under its slot, or the reason why it cannot be read."""
    packed = getattr(raw, "data", None)
    if packed is None:  # never saved, or freed since: only the public view shows which
        packed = _public(node, read)
        if packed is None:
            return
    tensors = list(tensors_in(packed))
    for position, tensor in enumerate(tensors):
        found.tensors.append((slot if len(tensors) == 1 else f"{slot}.{position}", tensor))
    if not tensors:
        found.unreadable.append(f"{slot}: packed by a saved-tensor hook ({_kind(packed)})")


def _kind(packed: Any) -> str:
    if isinstance(packed, RuntimeError):
        return "overwritten in place"
    module = type(packed).__module__
    return "recomputed by its checkpoint" if "checkpoint" in module else type(packed).__name__


def _read_custom(node: Any, found: Kept) -> None:
    """A Python Function: what it saved for backward, and what else hangs on its ``ctx``."""
    try:
        saved = torch_private.raw_saved_of_function(node)
    except RuntimeError as error:
        raise freed(name(node)) from error
    if saved is None:
        found.unreadable.append("saved_tensors: hidden in this version of torch")
    for position, raw in enumerate(saved or ()):
        read = functools.partial(lambda p: node.saved_tensors[p], position)
        _take(node, f"saved_tensors[{position}]", raw, read, found)
    for key, value in sorted(vars(node).items()):
        try:
            plain, readable = _plain(value)
        except RecursionError:  # a list that holds itself
            continue
        if isinstance(value, Tensor):
            found.tensors.append((f"ctx.{key}", value))
        elif readable:
            found.attributes[f"ctx.{key}"] = plain


_WORDS = (torch.dtype, torch.layout, torch.device, torch.memory_format, complex)


def _whole(value: int | torch.SymInt) -> int | None:
    """A number; None for the size of a jagged dimension, which is none."""
    try:
        return int(value)
    except AttributeError:
        return None


def _plain(value: Any) -> tuple[Any, bool]:
    """A value in JSON's types, and whether JSON can hold it."""
    if value is None or isinstance(value, (bool, float, str)):
        return value, True
    if isinstance(value, (int, torch.SymInt)):
        number = _whole(value)
        if number is None:
            return None, False
        # torch shows -1 as 2**64 - 1: the slots are unsigned to it.
        return (number - 2**64 if number >= 2**63 else number), True
    if isinstance(value, _WORDS):
        return str(value).removeprefix("torch."), True
    if isinstance(value, (tuple, list)):
        items = [_plain(item) for item in value]
        return [item for item, _ in items], all(readable for _, readable in items)
    return None, False
