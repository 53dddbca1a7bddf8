"""Puts back what modules hold besides their parameters: buffers, modes and plain attributes.

Knows modules, not graphs or passes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnist_cli.autograd.bits import same_bits, same_bits_of_many, shape_of, tensors_in

Held = list[tuple[nn.Module, str, Tensor, Tensor]]
"""Modules' own buffers, of any shape: module, name, tensor, and a copy of what it held."""


@contextmanager
def same_buffers(
    modules: Iterable[nn.Module], held: Held | None = None, *, moves: bool = False
) -> Iterator[None]:
    """Put the modules' own buffers back as they were, bit for bit.

    Backward recomputes a checkpointed segment, and batch norm inside one then counts the
    batch again. A buffer that was replaced by another tensor is put back too. Written through
    ``.data``, so that autograd does not take saved buffers for overwritten ones.

    Args:
        modules: the modules, without their children.
        held: the buffers that hold other values while the block runs.
        moves: at the block's end, update ``held`` for the next block.
    """
    known = list(modules)
    before = [(*entry, entry[2].detach().clone()) for entry in _buffers(known)]
    _put(held or ())
    try:
        yield
    finally:
        try:
            if held is not None and moves:
                held[:] = _differing(known, before)
        finally:  # also after Ctrl-C there
            _put(before)


def _put(buffers: Iterable[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    for module, name, buffer, value in buffers:
        if getattr(module, name, None) is not buffer:
            setattr(module, name, buffer)
        if (shape_of(buffer), buffer.dtype) != (shape_of(value), value.dtype):  # it was resized
            buffer.data = value.clone()
        elif not _expanded(buffer):  # nothing writes to it in place
            buffer.data.copy_(value)


def _differing(modules: Iterable[nn.Module], before: Held) -> Held:
    """The buffers of any shape that are other tensors than before, or hold other bits."""
    old = {(module, name): (buffer, value) for module, name, buffer, value in before}
    now = list(_buffers(modules))
    pairs = [(one, old.get((module, name), (None, one))) for module, name, one in now]
    certain = same_bits_of_many([(buffer.detach(), value) for buffer, (_, value) in pairs])
    return [
        (*entry, buffer.detach().clone())
        for entry, (buffer, (was, value)), same in zip(now, pairs, certain, strict=True)
        if buffer is not was or not (same or buffer.is_meta or same_bits(buffer, value))
    ]


@contextmanager
def same_attributes(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put back the modes, numbers and states of tensors that modules hold as plain attributes.

    Such numbers belong to the buffers, as the length of a cache does. Other flags are not put back.
    If a module has built layers meanwhile, only its modes are: its values may be the layers' sizes.
    """
    before = [
        (module, _layers(module), {**vars(module), "training": module.training})
        for module in modules
    ]
    try:
        yield
    finally:
        for module, layers, held in before:
            built = _layers(module) != layers
            for name, value in held.items():
                mode = name == "training"
                now = module.training if mode else vars(module).get(name, value)
                if now is not value and (mode or (not built and _is_state(value, now))):
                    setattr(module, name, value)


def _layers(module: nn.Module) -> list[tuple[type, int]]:
    """Modules and parameters inside, by class: those of a lazy one change with the first pass."""
    return [(type(one), id(one)) for one in (*module.modules(), *module.parameters())]


def _is_state(*values: object) -> bool:
    """Whether all are None, numbers, or hold tensors."""
    return all(
        one is None or type(one) in (int, float) or any(True for _ in tensors_in(one))
        for one in values
    )


def _expanded(tensor: Tensor) -> bool:
    """Whether several entries share one place in memory."""
    return tensor.layout == torch.strided and not tensor.is_nested and 0 in tensor.stride()


def modules_of(model: object) -> list[nn.Module]:
    """A model's modules; empty for anything else."""
    return list(model.modules()) if isinstance(model, nn.Module) else []


def shards(model: object) -> dict[str, Tensor]:
    """The parameters by name, of any shape, that backward fills, if ``fully_shard`` made the model.

    From its forward to its backward pass, the outermost module has others in their place.
    """
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", ())
    sharded: list[Any] = [one for one in modules_of(model) if isinstance(one, kind)]
    for one in sharded:
        one.reshard()
    return dict(model.named_parameters()) if sharded and isinstance(model, nn.Module) else {}


def _buffers(modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in modules:
        for name, buffer in module.named_buffers(recurse=False):
            if not is_lazy(buffer):
                yield module, name, buffer
