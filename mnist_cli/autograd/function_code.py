"""The code that a Function runs, to see which methods it may call."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CellType, CodeType
from typing import Any


def codes(functions: list[Any], limit: int = 100) -> Iterator[CodeType]:
    """The code of functions, of what decorates them, and of what they call by a global name."""
    seen: set[int] = set()
    for function in functions:
        function = _plain_function(function)
        code = getattr(function, "__code__", None)
        if code is None or id(code) in seen or len(seen) > limit:
            continue
        seen.add(id(code))
        inner = [one for one in code.co_consts if isinstance(one, CodeType)]
        yield from (code, *inner)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
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


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not assigned yet
        return False
