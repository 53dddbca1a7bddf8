"""Hooks of modules that only the module itself has, not its copies.

Knows modules only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


class OwnHook:
    """A hook that does nothing in a deep copy of its module, or in a pickle of it.

    Trainings copy and save models while they are watched, as for averaged weights. The copy would
    otherwise report its calls too, and neither closures nor locks can be copied or pickled.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        """Run the hook; what it returns is the hook's."""
        return self._run(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        # It takes any arguments and returns None, and loads where this package is not installed.
        return getattr, (nullcontext(), "__exit__")
