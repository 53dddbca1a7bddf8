"""Which module of a model is called, and which one computes.

Knows modules only.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd.bits import without_values
from mnist_cli.autograd.brief import listed
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import check_counts
from mnist_cli.autograd.torch_private import compiled_in_place, compiled_inside


def check_watchable(model: nn.Module, **counts: int) -> None:
    """Check that the calls of a model can be seen, and that counts are whole and above 0.

    Raises:
        UsageError: it is scripted, or compiled in place; or a count is below 1.
        TypeError: it is not a module, or a count is not whole.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model must be a module, not a {type(model).__name__}")
    check_counts(**counts)
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError("a scripted model cannot be watched", "Watch it before torch.jit.")
    if compiled_in_place(model):
        raise UsageError(
            "a model that was compiled in place cannot be watched",
            "Use torch.compile(model) instead of model.compile(), and watch what it returns.",
        )


def together(model: Any) -> Any:
    """Several models by name as one module; anything else as it is.

    Raises:
        UsageError: a name has a dot, or is not text.
    """
    if not isinstance(model, Mapping) or not model:
        return model
    if not all(isinstance(one, nn.Module) for one in model.values()):
        return model
    joint = nn.Module()
    for name, one in model.items():
        if not isinstance(name, str) or not name or "." in name or hasattr(joint, name):
            raise UsageError(f"{name!r} cannot name a model", "Use a word such as 'generator'.")
        joint.add_module(name, one)
    return joint


def nameless(names: Any, reached: Container[str | None]) -> Iterator[str]:
    """Notes about named tensors, of any shape, that a graph has no gradient for: they are ignored.

    Args:
        names: what names the leaves.
        reached: the names that the graph's leaves have.
    """
    named = {} if names is None or isinstance(names, nn.Module) else names
    lost = [
        name
        for name, one in named.items()
        if name not in reached and not isinstance(one, nn.Parameter)
        if not (one.is_leaf and one.requires_grad)
    ]
    if lost:
        yield f"Ignored, since they are not leaves that require a gradient: {listed(lost)}."
    if lost and not any(isinstance(one, nn.Parameter) for one in named.values()):
        yield "For parameters, give the model: state_dict() holds detached tensors."


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that computes: without what compiles it or shares it among processes."""
    while True:
        inner = dict(module.named_children())
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = inner["module"]
        elif compiled_inside(module):
            (module,) = inner.values()
        else:
            return module


def entries_of(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that training may call instead of the model: its parts that learn."""
    for one in model.children():
        if type(one) in (nn.ModuleList, nn.ModuleDict):
            yield from entries_of(one)
        elif not isinstance(one, torch.jit.ScriptModule) and any(True for _ in one.parameters()):
            yield one


def own_parameters(model: nn.Module, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's parameters, of any shape, by name; ``known`` while ``functional_call`` has others."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    own = all(isinstance(one, nn.Parameter) for one in found.values())
    return found if own else dict(known)


def communicates(model: nn.Module) -> bool:
    """Whether its forward pass may wait for other processes, as far as the modules show."""
    return any(isinstance(one, nn.SyncBatchNorm) for one in model.modules()) or any(
        without_values(one) for one in model.parameters()
    )
