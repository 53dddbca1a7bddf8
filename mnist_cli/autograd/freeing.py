"""Frees long graphs without recursion, and lets Python build large ones without collections.

torch 2.14 and 2.15 free the nodes that Python has seen by recursion: a chain of 50,000 overflows
the stack. So some nodes hold their targets a second time, in their ``metadata``. When such a node
is freed, its targets wait in a list until the nodes above are gone. They then begin a new
recursion. A target is held in the graph's own direction, so this keeps nothing alive longer.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.autograd.graph import Node

from mnist_cli.autograd.graph import Edge

INTERVAL = 100
"""The most nodes freed within each other: about 40 KiB of stack."""

MANY = 2_000
"""Nodes from which the garbage collector costs time."""

KEY = "mnist_cli.autograd.freeing"
"""The entry of ``metadata``."""


class _Waiting(threading.local):
    """What one thread has still to free."""

    def __init__(self) -> None:
        self.targets: list[tuple[Node, ...]] = []
        self.running = False


class _Break:
    """Hands a node's targets on when the node is freed."""

    __slots__ = ("targets",)

    # Bound here: at the interpreter's exit the module's names may be gone.
    waiting = _Waiting()

    def __init__(self, targets: tuple[Node, ...]) -> None:
        self.targets = targets

    def __del__(self) -> None:
        waiting = self.waiting
        waiting.targets.append(self.targets)
        self.targets = ()
        if waiting.running:
            return
        waiting.running = True
        try:
            while waiting.targets:
                waiting.targets.pop()
        finally:
            waiting.running = False


def free_in_parts(nodes: Sequence[Node], targets: Sequence[tuple[Edge | None, ...]]) -> None:
    """Prepare a graph so that freeing it, or any part of it, takes little of the stack.

    Args:
        nodes: the live nodes.
        targets: for each one, where its results go, by place in ``nodes``.
    """
    if len(nodes) <= INTERVAL:
        return
    for place in _breaks(targets):
        following = {edge.node for edge in targets[place] if edge is not None}
        metadata: Any = nodes[place].metadata  # torch declares a method; it is a dictionary
        metadata[KEY] = _Break(tuple(nodes[one] for one in following))


def _breaks(targets: Sequence[tuple[Edge | None, ...]]) -> Iterator[int]:
    """Places such that every path meets one after at most :data:`INTERVAL` nodes."""
    waiting = [0] * len(targets)
    for edges in targets:
        for edge in edges:
            if edge is not None:
                waiting[edge.node] += 1
    since = [0] * len(targets)
    ready = [place for place, count in enumerate(waiting) if count == 0]
    while ready:
        place = ready.pop()
        length = since[place] + 1
        if length >= INTERVAL:
            yield place
            length = 0
        for edge in targets[place]:
            if edge is not None:
                following = edge.node
                if length > since[following]:
                    since[following] = length
                waiting[following] -= 1
                if waiting[following] == 0:
                    ready.append(following)


@contextmanager
def no_collection(nodes: int = MANY) -> Iterator[None]:
    """Pause Python's garbage collector while the block makes data about many nodes.

    It would go through all objects again and again: half of the time at 20,000 nodes. What the
    block drops is freed as usual; only cycles wait.

    Args:
        nodes: how many nodes; the collector goes on for fewer than :data:`MANY`.
    """
    enabled = gc.isenabled() and nodes >= MANY
    if enabled:
        gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
