"""Which module of a model is called, and which one computes.

Knows modules only.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from mnist_cli.autograd.bits import without_values
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.torch_private import compiled_in_place, compiled_inside


def check_watchable(model: nn.Module) -> None:
    """Check that the calls of a model can be seen.

    Raises:
        UsageError: it is scripted, or compiled in place.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError("a scripted model cannot be watched", "Watch it before torch.jit.")
    if compiled_in_place(model):
        raise UsageError(
            "a model that was compiled in place cannot be watched",
            "Use torch.compile(model) instead of model.compile(), and watch what it returns.",
        )


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
    """The modules that a training may call instead of the model: its parts that learn."""
    for one in model.children():
        if type(one) in (nn.ModuleList, nn.ModuleDict):
            yield from entries_of(one)
        elif not isinstance(one, torch.jit.ScriptModule) and any(True for _ in one.parameters()):
            yield one


def communicates(model: nn.Module) -> bool:
    """Whether its forward pass may wait for other processes, as far as the modules show."""
    return any(isinstance(one, nn.SyncBatchNorm) for one in model.modules()) or any(
        without_values(one) for one in model.parameters()
    )
