"""The table of a module: what each call takes, gives, costs and keeps, in one forward pass.

Knows modules; the calls come from :mod:`mnist_cli.autograd.tracing`, the costs from
:mod:`mnist_cli.autograd.costs`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from mnist_cli.autograd.bits import tensors_in
from mnist_cli.autograd.costs import ProductCounter
from mnist_cli.autograd.error_tree import UsageError, first_line
from mnist_cli.autograd.graph import ModuleCall
from mnist_cli.autograd.module_state import same_buffers
from mnist_cli.autograd.summary_table import Summary, SummaryRow
from mnist_cli.autograd.tracing import ModuleTrace, trace_modules
from mnist_cli.autograd.undisturbed import RandomState
from mnist_cli.autograd.walking import joint, walk


def summary(module: nn.Module, *inputs: Any, **kwargs: Any) -> Summary:
    """Run a module once and list its calls: shapes, parameters, multiply-adds, saved memory.

    The module runs in its present mode, with gradients. Its buffers, its mode, and the random state
    of torch, Python and NumPy do not change. A module with lazy parameters is copied first. No
    backward pass runs.

    Args:
        module: any module.
        inputs: its arguments, tensors of any shape or others.
        kwargs: its keyword arguments.

    Raises:
        UsageError: it is an optimised or scripted program, whose calls are not visible.
        TypeError: it is not a module.
        Exception: the module's own error, from its forward pass.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"summary needs a module, not a {type(module).__name__}")
    subject = _copied(module) if _is_lazy(module) else module
    notes = []
    try:
        modules, result = _traced(subject, inputs, kwargs, ProductCounter())
    except Exception as error:  # the counter's, such as for nested tensors, or the module's own
        modules, result = _traced(subject, inputs, kwargs, None)
        notes.append(f"the multiply-adds are not counted: {first_line(error)}")
    if next(tensors_in(result), None) is None:
        kind = type(result).__name__
        notes.append(f"the memory kept for backward is not known: no tensor is found in a {kind}")
    calls = _with_memory(modules, result)
    if not calls:
        raise UsageError(
            f"no call of this {type(module).__name__} can be seen: it is scripted or compiled",
            "Give the module that it was made from.",
        )
    return replace(_summary(subject, modules, calls), notes=tuple(notes))


def _traced(
    module: nn.Module, inputs: Any, kwargs: Any, counter: ProductCounter | None
) -> tuple[ModuleTrace, Any]:
    """One forward pass, which leaves the module as it was."""
    with ExitStack() as stack:
        stack.enter_context(_as_it_was(module, (inputs, kwargs)))
        modules = stack.enter_context(trace_modules(module, activations=True))
        stack.enter_context(torch.enable_grad())
        if counter is not None:
            modules.meter = lambda: counter.multiply_adds
            stack.enter_context(counter)
        return modules, module(*inputs, **kwargs)


def _is_lazy(module: nn.Module) -> bool:
    return any(is_lazy(one) for one in (*module.parameters(), *module.buffers()))


def _copied(module: nn.Module) -> nn.Module:
    """A copy; torch refuses to copy a lazy buffer, so each gets a new one."""
    lazy = [one for one in module.buffers() if is_lazy(one)]
    make: Any = UninitializedBuffer
    fresh = {id(one): make(device=one.device, dtype=one.dtype) for one in lazy}
    return copy.deepcopy(module, fresh)


@contextmanager
def _as_it_was(module: nn.Module, taken: object) -> Iterator[None]:
    tensors = [*module.parameters(), *module.buffers(), *tensors_in(taken)]
    modes = [(one, one.training) for one in module.modules()]
    with RandomState.now(one.device for one in tensors).used(), same_buffers(module.modules()):
        try:
            yield
        finally:
            for one, training in modes:
                one.training = training


def _with_memory(modules: ModuleTrace, result: object) -> tuple[ModuleCall, ...]:
    """The calls with what their nodes keep, of the graph that leads to all results."""
    outputs = [one for one in tensors_in(result) if one.requires_grad]
    if not outputs:
        return modules.calls
    with torch.enable_grad():  # a Function takes no nested tensor
        parts = [part for one in outputs for part in (one.unbind() if one.is_nested else (one,))]
        root = joint(parts)
    return walk(root, modules.model, modules).graph.modules


def _summary(module: nn.Module, modules: ModuleTrace, calls: tuple[ModuleCall, ...]) -> Summary:
    parameters, buffers = list(module.parameters()), list(module.buffers())
    return Summary(
        rows=tuple(_rows(module, modules, calls)),
        total_parameters=_entries(parameters),
        trainable_parameters=_trainable(parameters),
        parameter_bytes=sum(
            one.numel() * one.element_size() for one in parameters if not is_lazy(one)
        ),
        total_buffers=_entries(buffers),
        training=module.training,
    )


def _entries(tensors: Iterable[Tensor]) -> int:
    return sum(one.numel() for one in tensors if not is_lazy(one))


def _trainable(parameters: Iterable[Tensor]) -> int:
    return _entries(one for one in parameters if one.requires_grad)


def _rows(
    module: nn.Module, modules: ModuleTrace, calls: tuple[ModuleCall, ...]
) -> Iterator[SummaryRow]:
    """A row for each call, followed by the modules in it that are never called."""
    unused = _never_called(module, modules, calls)
    for place, call in enumerate(calls):
        trainable = _trainable(modules.fresh_parameters(place))
        yield SummaryRow(
            **vars(call), trainable=trainable, multiply_adds=modules.metered.get(place, 0)
        )
        if call.call == 0:
            yield from (_unused(*one, call.depth + 1) for one in unused.get(call.module, []))


_Unused = tuple[str, nn.Module, list[nn.Parameter]]


def _never_called(
    module: nn.Module, modules: ModuleTrace, calls: tuple[ModuleCall, ...]
) -> Mapping[str, list[_Unused]]:
    """Modules with parameters that no call has, by the path of the nearest called module."""
    called = {call.module for call in calls}
    counted = {id(one) for place in range(len(calls)) for one in modules.fresh_parameters(place)}
    found: dict[str, list[_Unused]] = {}
    for path, one in module.named_modules():
        own = [p for p in one.parameters(recurse=False) if id(p) not in counted]
        counted.update(map(id, own))
        if own:
            around = path
            while around and around not in called:
                around = around.rpartition(".")[0]
            found.setdefault(around, []).append((path, one, own))
    return found


def _unused(path: str, module: nn.Module, own: list[nn.Parameter], depth: int) -> SummaryRow:
    kind, parameters, trainable = type(module).__name__, _entries(own), _trainable(own)
    return SummaryRow(path, kind, None, depth, parameters=parameters, trainable=trainable)
