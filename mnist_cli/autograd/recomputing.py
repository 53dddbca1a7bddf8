"""What a backward pass runs again: the modules and contexts that its checkpoints hold.

A node does not name them. They are searched from the functions that unpack its saved tensors, and
from what a Function keeps. Also finds the code that a Function runs, to see which methods it may
call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from mnist_cli.autograd import torch_private

MAX_OBJECTS = 20_000
"""Objects that are searched in all: a closure may hold a whole program."""

MAX_FUNCTIONS = 100
"""Functions whose code is searched."""

Enter = Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Recomputed:
    """What the recomputation of a graph's segments uses.

    Attributes:
        modules: every module, with its children.
        leaves: the modules' parameters, other leaves, and the leaves of graphs that are held.
        contexts: contexts that can be entered once, as a debugged checkpoint's.
    """

    modules: Sequence[nn.Module] = ()
    leaves: Sequence[Tensor] = ()
    contexts: Sequence[Any] = ()

    @classmethod
    def search(cls, nodes: Iterable[Node]) -> Recomputed:
        """Search from the nodes of a graph."""
        modules: dict[int, nn.Module] = {}
        leaves: dict[int, Tensor] = {}
        contexts = []
        for one in _reached([start for node in nodes for start in _starts(node)]):
            if isinstance(one, nn.Module):
                modules.update((id(module), module) for module in one.modules())
                leaves.update((id(leaf), leaf) for leaf in one.parameters())
            elif isinstance(one, Tensor):
                leaves[id(one)] = one
            elif torch_private.is_context_of_generator(one):
                contexts.append(one)
        return cls(list(modules.values()), list(leaves.values()), contexts)

    @contextmanager
    def reusable(self) -> Iterator[None]:
        """Make the contexts that the block enters ready to be entered again."""
        before = [dict(vars(context)) for context in self.contexts]
        try:
            yield
        finally:
            for context, held in zip(self.contexts, before, strict=True):
                if "args" in held and "args" not in vars(context):
                    vars(context).update(held)
                    context.gen = held["func"](*held["args"], **held["kwds"])


def _starts(node: Node) -> Iterator[object]:
    """Where the search begins: a Function's attributes, and the functions that unpack tensors."""
    if torch_private.is_function(node):
        yield from list(vars(node).values())
    yield from torch_private.unpack_hooks(node)


def _reached(starts: list[object]) -> Iterator[object]:
    """Everything that the objects hold, and what their functions name."""
    seen: dict[int, object] = {}
    queue = list(starts)
    while queue and len(seen) < MAX_OBJECTS:
        one = queue.pop()
        if id(one) in seen or isinstance(one, _LEFT_OUT):
            continue
        seen[id(one)] = one
        yield one
        if not isinstance(one, nn.Module):
            queue += _inside(one)


_LEFT_OUT = (type, ModuleType, BuiltinFunctionType, str, bytes, int, float, type(None))


def _inside(one: Any) -> list[object]:
    if isinstance(one, Tensor):
        return [] if one.grad_fn is None else [one.grad_fn]
    if isinstance(one, Node):
        targets = [target for target, _ in one.next_functions if target is not None]
        leaf = getattr(one, "variable", None) if not torch_private.is_function(one) else None
        return [*targets, leaf, *_starts(one)]
    if isinstance(one, FunctionType):
        return _held_by(one)
    if isinstance(one, MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, (list, tuple, set)):
        return list(one)
    return list(getattr(one, "__dict__", {}).values())


def _held_by(function: FunctionType) -> list[object]:
    """A function's cells and defaults, and the globals that it names unless it is torch's."""
    held = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if not (function.__module__ or "").startswith("torch."):
        names = function.__code__.co_names
        held += [function.__globals__[name] for name in names if name in function.__globals__]
    return held


def codes(functions: list[Any]) -> Iterator[CodeType]:
    """The code of functions, of what decorates them, and of what they call by a global name."""
    seen: set[int] = set()
    for function in functions:
        function = _plain_function(function)
        code = getattr(function, "__code__", None)
        if code is None or id(code) in seen or len(seen) > MAX_FUNCTIONS:
            continue
        seen.add(id(code))
        inner = [one for one in code.co_consts if isinstance(one, CodeType)]
        yield from (code, *inner)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        names = {name for one in (code, *inner) for name in one.co_names}
        called = [function.__globals__.get(name) for name in names]
        methods = [vars(one).get(name) for one in called if isinstance(one, type) for name in names]
        functions += [getattr(function, "__wrapped__", None), *cells, *called, *methods]


def _plain_function(function: Any) -> Any:
    """The function behind a method, a ``functools.partial`` or an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if hasattr(function, "__code__") or isinstance(function, type):
        return function
    return type(function).__call__ if callable(function) else None


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not assigned yet
        return False
