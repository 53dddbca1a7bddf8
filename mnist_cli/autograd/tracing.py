"""Which module's forward made a node: found from the sequence counter around each forward.

Knows modules and the counter, not graphs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd import torch_private


@dataclass
class ModuleTrace:
    """The module that was running, from each sequence number on.

    A module appears once for each call. Only the thread that runs the forward pass is seen: each
    thread has its own counter.
    """

    model: nn.Module | None = None
    starts: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"ModuleTrace({type(self.model).__name__}, {len(set(self.paths))} modules)"

    def module_at(self, sequence: int) -> str:
        """Path of the deepest module that was running when the node was made, or empty."""
        place = bisect_right(self.starts, sequence) - 1
        return self.paths[place] if place >= 0 else ""

    def note(self, path: str) -> None:
        """From here on, nodes belong to ``path``."""
        self.starts.append(torch_private.next_sequence_number())
        self.paths.append(path)


@contextmanager
def trace_modules(model: nn.Module) -> Iterator[ModuleTrace]:
    """Record which module is running while the block runs.

    ::

        with trace_modules(model) as modules:
            loss = criterion(model(images), labels)
        graph = walk(loss, names=model, modules=modules).graph

    The hooks are taken off at the end of the block, so that a checkpointed segment which is
    recomputed during backward is not taken for another forward. What a scripted module makes
    belongs to the module around it.
    """
    trace = ModuleTrace(model)
    active: list[str] = []
    trace.note("")
    handles: list[RemovableHandle] = []
    for path, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):  # it takes no hooks
            handles += _watch(module, path, trace, active)
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()
        trace.note("")


def _watch(
    module: nn.Module, path: str, trace: ModuleTrace, active: list[str]
) -> tuple[RemovableHandle, RemovableHandle]:
    def enter(*_: Any) -> None:
        active.append(path)
        trace.note(path)

    def leave(*_: Any) -> None:
        active.pop()
        trace.note(active[-1] if active else "")

    before = module.register_forward_pre_hook(enter, prepend=True)
    return before, module.register_forward_hook(leave, always_call=True)
