"""Which module's forward made a node: found from the sequence counter around each forward.

Knows modules, their hooks and the counter, not graphs.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from inspect import currentframe
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd import torch_private
from mnist_cli.autograd.graph import ModuleCall
from mnist_cli.autograd.module_calls import CallLog


@dataclass
class ModuleTrace:
    """The module that was running, from each sequence number on.

    A module appears once for each call. ``metered`` sums what ``meter`` shows during each call, by
    its place, without the calls inside it. Only one thread is traced, since each has its own
    counter: the one that made the trace, or, if that makes no call, the first that does. A segment
    that is recomputed in backward does not count as a call.
    """

    model: nn.Module | None = None
    starts: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    log: CallLog | None = None
    meter: Callable[[], int] | None = None
    metered: Counter[int] = field(default_factory=Counter)
    _owners: list[int | None] = field(default_factory=list)
    _shown: int = 0
    _maker: tuple[int, int] = field(default_factory=lambda: _here())
    _seen: tuple[int, int] = field(default_factory=lambda: _here())
    _called: bool = False

    @property
    def calls(self) -> tuple[ModuleCall, ...]:
        """The calls so far, in the order in which they began; empty without activations."""
        return self.log.calls() if self.log is not None else ()

    def fresh_parameters(self, place: int) -> list[nn.Parameter]:
        """The parameters that this call is the first to use."""
        return self.log.fresh.get(place, []) if self.log is not None else []

    def __repr__(self) -> str:
        return f"ModuleTrace({type(self.model).__name__}, {len(set(self.paths))} modules)"

    def module_at(self, sequence: int) -> str:
        """Path of the deepest module that was running when the node was made, or empty."""
        place = bisect_right(self.starts, sequence) - 1
        return self.paths[place] if place >= 0 else ""

    def call_at(self, sequence: int) -> int | None:
        """Place in ``calls`` of the deepest call that was running, or None outside of all."""
        place = bisect_right(self.starts, sequence) - 1
        return self._owners[place] if place >= 0 else None

    def note(self, path: str, call: int | None = None) -> None:
        """From here on, nodes belong to ``path``, and to the call at this place."""
        if self.meter is not None:
            before = self._owners[-1] if self._owners else None
            shown = self.meter()
            if before is not None:
                self.metered[before] += shown - self._shown
            self._shown = shown
        self.starts.append(torch_private.next_sequence_number())
        self.paths.append(path)
        self._owners.append(call)

    def sees(self) -> bool:
        """Whether a module that is called now belongs to the forward pass of this trace."""
        if torch.compiler.is_compiling():
            return False
        here = _here()
        first = not self._called and here[0] != self._maker[0]
        self._called = True
        if here != self._seen and (first or here == self._maker):
            self._begin(here)
        return here == self._seen

    def _begin(self, here: tuple[int, int]) -> None:
        """Trace this thread from here on, and forget the calls of the other."""
        self._seen = here
        self.log = CallLog() if self.log is not None else None
        for noted in (self.starts, self.paths, self._owners, self.metered):
            noted.clear()
        self.note("")

    def end(self) -> None:
        """The nodes made from here on belong to no module."""
        if threading.get_ident() == self._seen[0]:
            self.note("")


def _here() -> tuple[int, int]:
    """This thread, and the backward pass that it is in."""
    return threading.get_ident(), torch_private.backward_id()


@contextmanager
def trace_modules(model: nn.Module, *, activations: bool = False) -> Iterator[ModuleTrace]:
    """Record which module is running while the block runs.

    ::

        with trace_modules(model) as modules:
            loss = criterion(model(images), labels)
        graph = walk(loss, names=model, modules=modules).graph

    The hooks are removed at the end of the block. What a scripted module makes, or one compiled
    in place, belongs to the module around it; what ``torch.compile(module)`` makes is one module.

    Args:
        model: any module.
        activations: also record each call: shapes, statistics of the first output, parameters.
            ``ModuleTrace.calls`` has them, and :func:`walk` adds what each call keeps for
            backward. The results of the model keep their bits.
    """
    trace = ModuleTrace(model, log=CallLog() if activations else None)
    active: list[_Active] = []
    trace.note("")
    handles: list[RemovableHandle] = []
    try:
        for path, group in _watched(model).items():
            _watch(group, path, trace, active, handles)
        yield trace
    finally:
        for handle in handles:
            handle.remove()
        trace.end()


def _watched(model: nn.Module) -> dict[str, list[nn.Module]]:
    """By path, every module that takes hooks, and those in it that take none.

    Scripted modules take none, and the modules inside of a compiled one are part of its program.
    """
    compiled: set[nn.Module] = set()
    owners: dict[str, list[nn.Module]] = {}
    found: dict[str, list[nn.Module]] = {}
    for path, module in model.named_modules():
        if torch_private.compiled_in_place(module):
            compiled.update(module.modules())
        elif torch_private.compiled_inside(module):
            compiled.update(one for one in module.modules() if one is not module)
        if module not in compiled and not isinstance(module, torch.jit.ScriptModule):
            found[path] = owners[path] = [module]
        elif (owner := owners.get(path.rpartition(".")[0])) is not None:
            owner.append(module)
            owners[path] = owner
    return found


class OwnHook:
    """A hook that does nothing in a deep copy of its module, or in a pickle of it.

    Trainings copy and save models while they are watched, as for averaged weights. The copy would
    otherwise report its calls too, and neither closures nor locks can be copied or pickled.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        """Run the hook, and return its result."""
        return self._run(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        # It takes any arguments and returns None, and loads where this package is not installed.
        return getattr, (nullcontext(), "__exit__")


def frame_of_call() -> FrameType | None:
    """The frame of the module call whose hook calls this: it ends with the module call."""
    frame = currentframe()
    for _ in range(3):  # this function, the hook and OwnHook
        frame = frame and frame.f_back
    return frame


def is_running(frame: FrameType | None) -> bool:
    """Whether a function of this thread has not returned yet.

    torch calls no hook after a forward pass that Ctrl-C ends.
    """
    one = currentframe()
    while one is not None and one is not frame:
        one = one.f_back
    return one is not None


@dataclass(frozen=True, eq=False)
class _Active:
    """A call that is running in ``frame``; ``error`` is what was being handled when it began."""

    path: str
    call: int | None
    error: BaseException | None
    frame: FrameType | None


def _watch(
    group: list[nn.Module],
    path: str,
    trace: ModuleTrace,
    active: list[_Active],
    handles: list[RemovableHandle],
) -> None:
    # torch registers a hook in two steps: another thread may call it between them, without kwargs.
    def enter(module: nn.Module, args: Any, kwargs: Any = ()) -> None:
        if trace.sees():
            while active and not is_running(active[-1].frame):
                active.pop()
            log = trace.log
            call = log.begin(module, path, len(active), (args, kwargs)) if log else None
            active.append(_Active(path, call, sys.exception(), frame_of_call()))
            trace.note(path, call)

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        if not trace.sees() or all(one.path != path for one in active):
            return  # a hook before ours raised, so that the call never began
        while (last := active.pop()).path != path:
            pass
        if trace.log is not None and last.call is not None:
            failed = sys.exception() is not last.error
            trace.log.end(last.call, group, None if failed else result)
        trace.note(*(active[-1].path, active[-1].call) if active else ("", None))

    module, before, after = group[0], OwnHook(enter), OwnHook(leave)
    handles.append(module.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
    handles.append(module.register_forward_hook(after, always_call=True))
