"""What a backward pass changes besides its results, put back as it was.

The engine adds to the ``.grad`` of leaves and of inner tensors that retain it. A segment that is
recomputed in backward changes buffers, as batch norm does, and draws random numbers, as dropout
does. An inspection changes none of them.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import chain, filterfalse, groupby
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd.module_state import same_buffers
from mnist_cli.autograd.recomputing import Recomputed
from mnist_cli.autograd.torch_private import (
    average_again,
    has_checkpoints,
    hooks_of,
    is_function,
    kinds_of_caches,
    same_hooks,
    without_hooks_after_accumulation,
)


@dataclass(eq=False)
class RandomState:
    """States of the random generators: the CPU's, and each CUDA device's by index."""

    cpu: Tensor
    cuda: dict[int, Tensor]

    @classmethod
    def now(cls, devices: Iterable[torch.device]) -> RandomState:
        """The states of the generators that a graph on ``devices`` can draw from."""
        indices = sorted({device.index for device in devices if device.type == "cuda"})
        return cls(torch.get_rng_state(), {n: torch.cuda.get_rng_state(n) for n in indices})

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.cpu)
        for index, state in self.cuda.items():
            torch.cuda.set_rng_state(state, index)

    @contextmanager
    def used(self, *, moves: bool = False) -> Iterator[None]:
        """Draw from these states while the block runs; Python's and NumPy's are put back too.

        Args:
            moves: the next block goes on where this one ends; else each draws the same numbers.
        """
        devices = [torch.device("cuda", index) for index in self.cuda]
        before = RandomState.now(devices)
        self.restore()
        try:
            with _same_host():
                yield
        finally:
            if moves:
                after = RandomState.now(devices)
                self.cpu, self.cuda = after.cpu, after.cuda
            before.restore()


@contextmanager
def _same_host() -> Iterator[None]:
    """Put back the states of Python's generator and, if anything has imported it, of NumPy's."""
    python, numpy = random.getstate(), sys.modules.get("numpy.random")
    drawn = numpy and numpy.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.set_state(drawn)


_ONE_AT_A_TIME = threading.RLock()
"""Held by a pass: the leaves' ``.grad`` is its scratch, and its hooks are on shared nodes."""


def _free_in_forks() -> None:
    """Replace the lock in a forked process: the thread that holds it does not exist there."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_forks)


@contextmanager
def set_aside(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Remove the leaves' ``.grad`` and their after-accumulation hooks while the block runs.

    Such a hook is how an optimiser steps during backward; an inspection must not train. One block
    runs at a time; other threads wait.
    """
    known = list(leaves)
    with _ONE_AT_A_TIME:
        grads = [leaf.grad for leaf in known]
        try:
            for leaf in known:
                leaf.grad = None
            with without_hooks_after_accumulation(known):
                yield
        finally:
            for leaf, grad in zip(known, grads, strict=True):
                _put_back(leaf, grad)


def _put_back(leaf: Tensor, grad: Tensor | None) -> None:
    """Assign ``.grad``, also one from before the leaf's ``.data`` changed shape or dtype."""
    try:
        leaf.grad = grad
    except (RuntimeError, TypeError):
        if grad is None:
            raise
        values, grad.data = grad.data, torch.empty_like(leaf.data)
        leaf.grad = grad
        grad.data = values


def strangers(nodes: Iterable[Node], known: Iterable[Tensor]) -> list[Tensor]:
    """The leaves, of any shape, that have no name, if a node may run a backward of its own.

    A Function written in Python may, as a reentrant checkpoint does, and adds to the ``.grad`` of
    leaves that it does not name. They are searched from what the Functions keep: leaves of other
    threads, which may train, are not touched.
    """
    functions = [node for node in nodes if is_function(node)]
    named = {id(one) for one in known}
    leaves = Recomputed.search(functions).leaves if functions else ()
    return [one for one in leaves if id(one) not in named and _gathers(one)]


def _gathers(tensor: Tensor) -> bool:
    try:
        return tensor.is_leaf and tensor.requires_grad and not is_lazy(tensor)
    except Exception:  # a subclass may refuse any question
        return False


@dataclass(frozen=True, eq=False)
class Unnamed:
    """What a backward pass changes and no node names.

    Attributes:
        retaining: the inner tensors, of any shape, that retain their gradient (``retain_grad``).
        hooked: the tensors of the graph that have hooks: a hook may remove itself when it runs.
        caches: the results that selective checkpoints keep, and use up in one pass.
        functions: the nodes of Functions, whose backward may delete attributes of its ``ctx``.
        recomputed: what checkpoints run again.
    """

    retaining: Sequence[Tensor]
    hooked: Sequence[Tensor]
    caches: Sequence[dict[Any, Any]]
    functions: Sequence[Node]
    recomputed: Recomputed

    @classmethod
    def search(cls, nodes: Sequence[Node]) -> Unnamed:
        """Search all objects that Python knows: about 20 ms."""
        ids = {id(node) for node in nodes}
        found = _objects({*_kinds_of(Tensor), *kinds_of_caches()})
        inner = [one for one in found if _retains(one) and id(one.grad_fn) in ids]
        hooked = [one for one in found if _is_hooked(one, ids)]
        functions = [node for node in nodes if is_function(node)]
        recomputed = Recomputed.search(nodes if has_checkpoints(found) else functions)
        return cls(inner, hooked, _caches(found), functions, recomputed)

    @contextmanager
    def same(self) -> Iterator[None]:
        """Put all back as it was; the engine never adds to an inner ``.grad`` in place."""
        grads = [tensor.grad for tensor in self.retaining]
        kept = [{key: copy(entry) for key, entry in cache.items()} for cache in self.caches]
        try:
            hooks, again = same_hooks(self.hooked), self.recomputed.reusable()
            with same_buffers(self.recomputed.modules), again, hooks, _same_ctx(self.functions):
                yield
        finally:
            for tensor, grad in zip(self.retaining, grads, strict=True):
                tensor.grad = grad
            for cache, entries in zip(self.caches, kept, strict=True):
                cache.update(entries)


@contextmanager
def _same_ctx(functions: Sequence[Node]) -> Iterator[None]:
    """Restore the attributes of Functions' nodes, and what containers in them hold."""
    changing = _containers(map(vars, functions))
    before = [copy(one) for one in changing]
    try:
        yield
    finally:
        for one, contents in zip(changing, before, strict=True):
            if not _same_items(one, contents):  # another thread may read what the pass left alone
                one.clear()
                (one.extend if isinstance(one, (list, deque)) else one.update)(contents)


def _same_items(one: Any, before: Any) -> bool:
    """Whether a container has the same objects in the same order; compares no values."""
    if len(one) != len(before) or not all(map(is_, one, before)):
        return False
    return not isinstance(one, dict) or all(map(is_, one.values(), before.values()))


_HOLDERS = (tuple, list, dict, set, deque, OrderedDict, defaultdict)


def _containers(values: Iterable[Any]) -> list[Any]:
    """The mutable containers among ``values``, and those inside them at any depth."""
    found: dict[int, Any] = {}
    queue = list(values)
    while queue:
        one = queue.pop()
        held = any(type(one) is kind for kind in _HOLDERS)  # a metaclass may define __eq__
        if held and id(one) not in found:
            found[id(one)] = one
            queue += one.values() if isinstance(one, dict) else one
    return [one for one in found.values() if type(one) is not tuple]


Hooked = tuple[RemovableHandle, dict[int, Any] | None]
"""A hook of ours on a node, and all hooks there if there are others."""


def with_others(handle: RemovableHandle) -> Hooked:
    """A hook that was just registered, and the other hooks of its node."""
    hooks = handle.hooks_dict_ref()
    return handle, dict(hooks) if hooks is not None and len(hooks) > 1 else None


def take_off(hooked: list[Hooked]) -> None:
    """Remove our hooks, and put back others' hooks that removed themselves."""
    for handle, before in hooked:
        hooks = handle.hooks_dict_ref()
        if before is not None and hooks is not None and not before.keys() <= hooks.keys():
            every = {**before, **hooks}
            hooks.clear()
            hooks.update(every)
        handle.remove()


def average_over_processes(root: Tensor, leaves: Iterable[Tensor]) -> None:
    """Have the models with these leaves average their gradients in the next backward pass too.

    Args:
        root: a tensor of any shape, whose graph has the leaves.
        leaves: the parameters of any shape that a backward pass has filled.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    known = {id(leaf) for leaf in leaves}
    for model in _objects(_kinds_of(nn.parallel.DistributedDataParallel)):
        if any(id(one) in known for one in model.parameters()):
            average_again(model, root)


def _kinds_of(kind: type) -> set[type]:
    """A class and all that derive from it."""
    found: set[type] = {kind}
    queue = [kind]
    while queue:
        new: set[type] = set(type.__subclasses__(queue.pop())) - found
        found |= new
        queue += new
    return found


def _objects(kinds: set[type]) -> list[Any]:
    """All objects of some classes that Python knows.

    An object refers to its class. Other objects are not compared: a metaclass may define ``__eq__``.

    One call in C: no other thread runs before all others are let go. A tuple that another thread
    is building, and that somebody holds, fails there with a SystemError. Nothing that exists
    before the call holds an object after it: it is among the objects, so that would be a cycle.
    """
    referrers = map(gc.get_referrers, *((kind,) for kind in kinds))
    every = chain(chain.from_iterable(referrers), (None,))
    wanted = map(itemgetter(1), filterfalse(kinds.isdisjoint, groupby(every, type)))
    collects = gc.isenabled()
    gc.disable()
    try:
        return list(chain.from_iterable(wanted))
    finally:
        if collects:
            gc.enable()


def _retains(tensor: Tensor) -> bool:
    try:
        return not tensor.is_leaf and tensor.retains_grad
    except Exception:  # a subclass may refuse any question
        return False


def _is_hooked(tensor: Tensor, ids: Set[int]) -> bool:
    """Whether a tensor of any shape has hooks, and one of these nodes."""
    try:
        return bool(hooks_of(tensor)) and id(get_gradient_edge(tensor).node) in ids
    except Exception:  # a subclass may refuse any question
        return False


def _caches(objects: Sequence[object]) -> list[dict[Any, Any]]:
    """What the selective checkpoints among ``objects`` keep; a backward pass uses it up."""
    kinds = kinds_of_caches()
    found = [getattr(one, "storage", None) for one in objects if type(one) in kinds]
    return [cache for cache in found if isinstance(cache, dict)]
