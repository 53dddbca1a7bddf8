"""The entries of tensors of every kind, their bits, and whether they are finite.

Signed zeros and NaN patterns differ in their bits. Knows tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd import torch_private
from mnist_cli.autograd.brief import sizes

MAX_NESTING = 20
"""Levels of containers in which :func:`tensors_in` searches: one may contain itself."""

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The integers of as many bytes as a real entry has."""


_SMALL = 16_384
"""Entries up to which comparing tensors together is faster than one by one."""

_TOGETHER = 1_000_000
"""Entries that are compared together: at most 8 MiB on each side."""


def entries(tensor: Tensor) -> Tensor:
    """All entries of any tensor in a row (N,), in its own dtype; complex ones as pairs.

    A sparse tensor has its implicit zeros. A nested tensor, and one that wraps others, has the
    entries of its parts.
    """
    values = tensor.detach()
    parts = parts_of(values)
    if parts:
        return torch.cat([entries(part) for part in parts])
    if values.is_quantized:
        values = values.dequantize()
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        values = values.dequantize()
    values = values.as_subclass(Tensor)
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.reshape(-1)


def tensors_in(value: object, levels: int = MAX_NESTING) -> Iterator[Tensor]:
    """Every tensor, of any shape, in nested lists, tuples, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value) and not isinstance(value, type):
        inner = (getattr(value, field.name, None) for field in fields(value))
    if levels:
        for one in inner:
            if type(one) not in _HOLD_NOTHING:
                yield from tensors_in(one, levels - 1)


_HOLD_NOTHING = frozenset({int, float, bool, str, type(None)})
"""Types of which a long list is passed over quickly."""


def parts_of(tensor: Tensor) -> list[Tensor]:
    """The tensors, of any shape, that a nested one or a wrapper (DTensor) is made of; else none."""
    if tensor.is_nested:
        return list(tensor.unbind())
    if not _is_wrapper(tensor):
        return []
    if hasattr(tensor, "trigger_wait"):  # other processes may not have sent it yet
        return [tensor.trigger_wait()]
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        held = [getattr(tensor, name) for name in names]  # a DTensor's mesh is not a tensor
        return [one for one in held if isinstance(one, Tensor)]
    return [one for one in vars(tensor).values() if isinstance(one, Tensor)]


def _is_wrapper(tensor: Tensor) -> bool:
    """Whether a subclass handles every operation on its entries, as a wrapper does."""
    return type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__


def without_values(tensor: Tensor) -> str:
    """Why the statistics of a tensor of any shape are not computed; empty if they are."""
    if tensor.is_meta:
        return "tensors on the meta device have no values"
    if hasattr(tensor, "fake_mode"):
        return "fake tensors have no values"
    if torch_private.is_transformed(tensor):
        return "the values of tensors inside torch.func are not read"
    if _is_wrapper(tensor) and not tensor.is_nested:
        return f"the values of a {type(tensor).__name__} are its own"
    return "their memory was freed" if _is_freed(tensor) else ""


def _is_freed(tensor: Tensor) -> bool:
    """Whether the memory of a tensor is gone, as a sharded model's: reading it ends the process."""
    if tensor.layout is not torch.strided or tensor.is_nested or not tensor.numel():
        return False
    try:
        return tensor.untyped_storage().nbytes() == 0
    except (RuntimeError, NotImplementedError):
        return False


def shape_of(described: Any) -> tuple[int, ...] | None:
    """The shape of a tensor or of a node's result; None for a nested one, which has none."""
    try:
        return tuple(map(int, described.shape))
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return None


_PLAIN = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor of any shape is a dense real one, whose statistics and bits are its own."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype in _PLAIN
        and tensor.layout is torch.strided
        and not (tensor.is_nested or tensor.is_meta)
        and not torch_private.is_transformed(tensor)
        and not _is_freed(tensor)
    )


def size_of(tensor: Tensor | None) -> str:
    """The shape of a tensor of any shape in words: ``16×8``."""
    return "nothing" if tensor is None else sizes(shape_of(tensor) or ())


def numbers(tensor: Tensor) -> Tensor:
    """The entries in a row (N,), as they can be viewed as bits."""
    return entries(tensor).resolve_neg().contiguous()


def bits(tensor: Tensor) -> Tensor:
    """The entries (N,) as integers of the same bits."""
    values = numbers(tensor)
    return values.view(INTEGERS[values.element_size()])


def same_bits_of_many(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[bool]:
    """For each pair of tensors of any shape: whether :func:`same_bits` is certain.

    Small dense tensors of one shape and dtype are compared together; False may mean that they
    have to be looked at alone.
    """
    answers = [False] * len(pairs)
    groups: dict[tuple[torch.Size, torch.dtype, torch.device], list[int]] = {}
    for place, (a, b) in enumerate(pairs):
        if is_plain(a) and is_plain(b) and 0 < a.numel() <= _SMALL:
            kind = a.shape, a.dtype, a.device
            if (b.shape, b.dtype, b.device) == kind:
                groups.setdefault(kind, []).append(place)
    with torch.no_grad():
        for places in groups.values():
            step = max(1, _TOGETHER // pairs[places[0]][0].numel())
            for start in range(0, len(places), step):
                some = places[start : start + step]
                ours, theirs = (bits(torch.stack([pairs[n][i] for n in some])) for i in (0, 1))
                equal = (ours == theirs).view(len(some), -1).all(1).tolist()
                for place, one in zip(some, equal, strict=True):
                    answers[place] = one
    return answers


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors have the same shape, dtype and bits.

    Raises:
        NotImplementedError: torch's, for tensors on the meta device, which have no bits.
    """
    if shape_of(ours) != shape_of(theirs) or ours.dtype != theirs.dtype:
        return False
    return torch.equal(bits(ours), bits(theirs))


def finite(tensor: Tensor) -> bool:
    """Whether no entry of a tensor of any shape is NaN or infinite; true if none can be read."""
    if without_values(tensor):
        return all(bool(torch.isfinite(part).all()) for part in plain_parts(tensor))
    return bool(torch.isfinite(entries(tensor)).all())


def plain_parts(tensor: Tensor) -> list[Tensor]:
    """A plain tensor itself, of any shape, or the plain tensors that a wrapper is made of.

    A NaN in a part is a NaN of the wrapper, such as a DTensor. Wrappers that do not name their parts
    have none here: a masked tensor may hold NaN where it is masked.
    """
    if is_plain(tensor):
        return [tensor.detach()]
    named = _is_wrapper(tensor) and hasattr(tensor, "__tensor_flatten__")
    return [plain for part in parts_of(tensor) for plain in plain_parts(part)] if named else []


def _sum(tensor: Tensor) -> Tensor:
    """The sum, a scalar. NaN or infinity in an entry makes it so; half precision overflows."""
    small = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.sum(dtype=torch.float32) if small else tensor.sum()


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether all ``.grad``, of any shape, are finite: one sum each, and a closer look where it is not."""
    grads = [one.grad.detach() for one in parameters if one.grad is not None]
    total = 0.0
    for grad in grads:
        if is_plain(grad):
            total += float(_sum(grad))
        else:
            total += 0.0 if finite(grad) else math.nan
    return math.isfinite(total) or all(map(finite, grads))


def names_of_bad(named: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of the tensors, of any shape, whose ``.grad`` is not finite."""
    grads = {name: one.grad for name, one in named.items()}
    return tuple(name for name, grad in grads.items() if grad is not None and not finite(grad))


def has_nan(output: Tensor) -> bool:
    """Whether an output of any shape has a NaN; infinity is an ordinary value of a mask."""
    values = output.detach()
    if not is_plain(values):
        return False
    total = float(_sum(values))
    return total != total and bool(values.isnan().any())


Sums = dict[torch.device, tuple[list[str], Tensor]]
"""By device, names and the sum of each one's gradient (N,)."""


def sums_of(named: Mapping[str, Tensor]) -> Sums:
    """The sum of each ``.grad``, of any shape, by device, left there."""
    groups: dict[torch.device, tuple[list[str], list[Tensor]]] = {}
    for name, one in named.items():
        for part in plain_parts(one.grad) if one.grad is not None else ():
            names, sums = groups.setdefault(part.device, ([], []))
            names.append(name)
            sums.append(_sum(part).float())
    return {device: (names, torch.stack(sums)) for device, (names, sums) in groups.items()}


def fetched(sums: Sums) -> Iterator[tuple[str, float]]:
    """Names and sums; waits for the devices."""
    for names, values in sums.values():
        yield from zip(names, values.tolist(), strict=True)
