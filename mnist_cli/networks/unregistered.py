"""Finds values that a network uses but no checkpoint holds: they lie outside its state_dict.

These are layers in a plain list, tensors that are neither parameters nor persistent buffers, and
values in closures, classes and globals. They are found by following attributes, as copying does.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST = 20_000
"""Maximum number of objects in one search."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_LIBRARIES = frozenset({"torch", "torchvision", "numpy", "builtins"})
_PLAIN = bool | int | float | complex


def held(roots: Mapping[str, object]) -> dict[str, Any]:
    """Every reachable tensor, array and number, by the shortest path in Python's notation.

    Args:
        roots: where to begin, by name, such as ``{"self": network}``.
    """
    values: dict[str, Any] = {}
    seen: set[int] = set()
    waiting = deque(roots.items())
    for _ in range(MOST):
        if not waiting:
            break
        path, value = waiting.popleft()
        if isinstance(value, _PLAIN):
            values[path] = value
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, Tensor | np.ndarray):
                values[path] = value
            else:
                waiting.extend(islice(_parts(path, value), MOST))
    return values


def arrays(roots: Mapping[str, object]) -> dict[str, Any]:
    """The tensors and arrays of :func:`held`."""
    return {path: v for path, v in held(roots).items() if not isinstance(v, _PLAIN)}


def _parts(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r:.40}]", one) for key, one in value.items())
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"{path}[{number}]", one) for number, one in enumerate(value))
    elif isinstance(value, types.FunctionType):
        yield from _of_function(path, value)
    elif isinstance(value, types.MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    elif isinstance(value, partial):
        yield from ((path, one) for one in (value.func, value.args, value.keywords))
    elif isinstance(value, type):
        yield from _of_class(value)
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        yield from _of_object(path, value)


def _of_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{name} in the closure of {path}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from ((f"a default of {path}", one) for one in defaults)


def _of_class(kind: type) -> Iterator[tuple[str, object]]:
    """The values that instances share, except in classes of libraries."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            yield from ((f"{kind.__name__}.{name}", one) for name, one in list(vars(base).items()))


def _of_object(path: str, value: object) -> Iterator[tuple[str, object]]:
    passed = _OF_EVERY_MODULE if isinstance(value, nn.Module) else frozenset()
    yield from ((f"{path}.{name}", one) for name, one in vars(value).items() if name not in passed)
    if isinstance(value, nn.Module):
        registers = value.named_parameters, value.named_buffers
        for name, one in chain(*(named(recurse=False) for named in registers)):
            yield f"{path}.{name}", one
        for name, child in value.named_children():
            yield f"{path}[{name}]" if name.isdigit() else f"{path}.{name}", child
    yield path, type(value)


def outside(network: nn.Module, roots: Mapping[str, object]) -> dict[str, Any]:
    """The values of :func:`held`, without the tensors of the network's state_dict."""
    saved = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    return {path: value for path, value in held(roots).items() if id(value) not in saved}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The paths at which both have values, but different ones; tensors and arrays come first."""
    paths = [path for path in one if path in other and not _equal(one[path], other[path])]
    return sorted(paths, key=lambda path: isinstance(one[path], _PLAIN))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, _PLAIN) or isinstance(other, _PLAIN):
        return bool(one is other or one == other or (one != one and other != other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        try:
            return bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())
        except (RuntimeError, TypeError):  # a layout or dtype that it does not compare
            return True
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def overwrite(old: Any, new: Any) -> bool:
    """Copy ``new`` into ``old`` if both are tensors or arrays of one shape; else return False."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape:
        np.copyto(old, new)
        return True
    if isinstance(old, Tensor) and isinstance(new, Tensor) and old.shape == new.shape:
        with torch.no_grad():
            old.copy_(new)
        return True
    return False


def listed(names: Iterable[str], most: int = 3) -> str:
    """Names in one phrase, at most ``most`` of them in full."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")
