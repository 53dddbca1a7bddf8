"""One training forward pass, kept so that it can be run again, and the search for its first NaN.

Knows a module, its inputs and the gradients of its outputs; nothing of when it is asked.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd.bits import (
    MAX_NESTING,
    entries,
    finite,
    has_nan,
    tensors_in,
    without_values,
)
from mnist_cli.autograd.brief import listed, shortened
from mnist_cli.autograd.diagnosing import Diagnosis, diagnose, place_of
from mnist_cli.autograd.error_tree import first_line
from mnist_cli.autograd.module_state import same_attributes, same_buffers
from mnist_cli.autograd.problems import Evidence, not_finite_only
from mnist_cli.autograd.recording import record_last
from mnist_cli.autograd.torch_private import (
    each_operation,
    next_sequence_number,
    sequence_number,
    times_changed,
)
from mnist_cli.autograd.tracing import ModuleTrace, is_running, trace_modules
from mnist_cli.autograd.undisturbed import RandomState
from mnist_cli.autograd.unwrapping import communicates
from mnist_cli.autograd.walking import Walk, walk

NOT_RUN = "The pass is not run again to find the cause: the model {}."
FROM_LOSS = "The gradient at the model's output is already not finite: check the loss."
NOT_AGAIN = (
    "A second run of the pass is finite: its inputs or state have changed, or another process sends "
    "gradients that are not finite."
)
FAILS_AGAIN = "A second run of the pass, to find the cause, fails with {}: {}."


@dataclass(eq=False)
class Pass:
    """One forward pass of a module, until its graph is freed.

    Attributes:
        module: the module that was called, without what compiles or shares it.
        args, kwargs: what it was called with; tensors without their graph.
        versions: how often each of these tensors had been changed in place.
        random: the generators' states when it began.
        autocast: the precision of autocast then; None if it was off.
        grads: the gradients that arrived at its outputs, by place.
        step: its number among the passes of a training run, from 0.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    versions: tuple[int, ...]
    random: RandomState
    autocast: torch.dtype | None
    grads: dict[int, Tensor] = field(default_factory=dict)
    step: int = -1

    @classmethod
    def begin(cls, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pass:
        """Keep what the pass depends on; only references to the inputs, no copies."""
        return cls(
            module,
            args := tuple(map(_cut, args)),
            kwargs := {name: _cut(value) for name, value in kwargs.items()},
            versions=_versions(args, kwargs),
            random=RandomState.now(()),
            autocast=_autocast(),
        )

    @property
    def unchanged(self) -> bool:
        """Whether the inputs still hold what they held."""
        return self.versions == _versions(self.args, self.kwargs)


class Here(threading.local):
    """What one thread is doing; ``calls`` are the frames of the watched calls that it is in."""

    current: Pass | None = None
    backward = -1

    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.calls: list[FrameType | None] = []

    def begins(self, frame: FrameType | None) -> bool:
        """Note that a watched call begins; returns whether it is in no other."""
        self._drop_stopped()
        self.calls.append(frame)
        return len(self.calls) == 1

    def ends(self) -> bool:
        """Note that a watched call ends; returns whether it was in no other, and began while watched."""
        self._drop_stopped()
        if not self.calls:
            return False
        self.calls.pop()
        return not self.calls

    def _drop_stopped(self) -> None:
        while self.calls and not is_running(self.calls[-1]):
            self.calls.pop()


def _autocast() -> torch.dtype | None:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None


def _cut(value: Any, levels: int = MAX_NESTING) -> Any:
    """The value with its tensors detached, since this pass would keep their graphs alive."""
    if isinstance(value, Tensor) and value.grad_fn is not None:
        return value.detach().requires_grad_()
    if type(value) in (list, tuple) and levels:
        return type(value)(_cut(one, levels - 1) for one in value)
    if type(value) is dict and levels:
        return {key: _cut(one, levels - 1) for key, one in value.items()}
    return value


def _versions(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(times_changed(one) for one in tensors_in((args, kwargs)) if not one.is_inference())


def outputs_in(value: Any) -> list[Tensor]:
    """Those of the tensors in a value, of any shape, that can receive a gradient."""
    return [one for one in tensors_in(value) if one.requires_grad]


def joined(outputs: list[Tensor], grads: Mapping[int, Tensor]) -> Tensor:
    """A scalar whose gradient for each output, of any shape, is exactly the given gradient."""
    parts = [(outputs[place] * grad.conj()).real.sum() for place, grad in grads.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part.to(total.device)
    return total


def why_not_again(passes: Sequence[Pass], model: nn.Module) -> str:
    """Why passes of a model cannot be run again, in a sentence; empty if they can."""
    asked = [(n, p) for n, p in model.named_parameters() if p.requires_grad or has_nan(p)]
    bad = [name for name, one in asked if not finite(one)]  # a frozen one may be a mask
    if communicates(model):
        why = "communicates with other processes in its forward pass"
    elif bad:
        why = f"has parameters that are not finite: {listed(bad)}"
    elif not all(one.unchanged for one in passes):
        why = "was given inputs that have changed in place since"
    else:
        return ""
    return NOT_RUN.format(why)


def run_again(one: Pass, model: nn.Module, scale: float = 1.0) -> Evidence:
    """Run a pass again, forward and backward, and look for the first NaN or infinity.

    The parameters' ``.grad``, the buffers, the modules' states and the random state stay as they
    are. Other side effects of the forward pass happen again. If it fails, the note says so.

    Args:
        one: the pass; without gradients of its outputs only the forward pass is searched.
        model: names the parameters and modules.
        scale: factor by which the loss was multiplied.
    """
    try:
        return _searched(one, model, scale)
    except Exception as error:  # the model's own, or that a graph from another pass is freed
        reason = shortened(first_line(error))
        return Evidence(note=FAILS_AGAIN.format(type(error).__name__, reason))


def _searched(one: Pass, model: nn.Module, scale: float) -> Evidence:
    with ExitStack() as stack:
        stack.enter_context(_as_then(one))
        stack.enter_context(same_attributes(list(model.modules())))
        stack.enter_context(same_buffers(model.modules()))
        modules = stack.enter_context(trace_modules(model))
        made = stack.enter_context(_first_made())
        outputs = outputs_in(one.module(*one.args, **one.kwargs))
    from_outside = not all(map(finite, one.grads.values()))
    grads = {} if from_outside else one.grads
    if len(outputs) <= max(grads, default=0):
        return Evidence(note=NOT_AGAIN)
    walked = _walked(outputs, grads, scale, model, modules)
    forward = tuple(_sentences(made, walked, modules))
    if "NaN" in made and not all(map(finite, outputs)):
        return Evidence(walked.graph, forward)
    if from_outside:
        return Evidence(walked.graph, note=FROM_LOSS)
    graph = record_last(walked).graph if grads else walked.graph
    backward = not_finite_only(diagnose(graph))
    # Infinity alone is an ordinary value of a mask.
    return Evidence(graph, (*backward, *forward) if backward else (), "" if backward else NOT_AGAIN)


@dataclass(frozen=True)
class _Made:
    """The operation that makes the first NaN or infinity.

    Attributes:
        operation: its name, as ``aten.log``.
        sequence: the sequence number of its node.
        has_node: whether it has a node: an input requires a gradient.
        given: which of NaN and infinity its inputs contain.
    """

    operation: str
    sequence: int
    has_node: bool
    given: frozenset[str]


@contextmanager
def _first_made() -> Iterator[dict[str, _Made]]:
    """Find, while the block runs, what makes the first ``NaN`` and the first ``infinity``."""
    found: dict[str, _Made] = {}

    def look(operation: str, given: object, result: object) -> None:
        if "empty" in operation or "NaN" in found:  # memory that nobody has written yet
            return
        for kind in _kinds(result):
            before = found.get(kind)
            if before is not None and before.has_node and not before.given:
                continue
            inputs = list(tensors_in(given))
            kinds = _kinds(inputs) | ({"infinity"} if _names_infinity(given) else set())
            needs = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
            # What is there may be a mask's infinity, also that of a logarithm without a node.
            if before is not None and (kinds or not (needs or before.given)):
                continue
            # The node is made before the operation runs.
            last = next_sequence_number() - 1
            found[kind] = _Made(operation, last, needs, frozenset(kinds))

    with each_operation(look):
        yield found


def _names_infinity(given: Any) -> bool:
    """Whether an argument of an operation is an infinite number, as for a mask."""
    args, kwargs = given
    numbers = [one for one in (*args, *(kwargs or {}).values()) if isinstance(one, float)]
    return any(map(math.isinf, numbers))


def _kinds(value: object) -> set[str]:
    """Which of ``NaN`` and ``infinity`` the tensors in a value contain."""
    kinds: set[str] = set()
    for one in tensors_in(value):
        if not (one.is_floating_point() or one.is_complex()) or without_values(one):
            continue
        values = entries(one)
        checks: dict[str, Any] = {"NaN": torch.isnan, "infinity": torch.isinf}
        kinds |= {kind for kind, check in checks.items() if bool(check(values).any())}
    return kinds


def _walked(
    outputs: list[Tensor],
    grads: Mapping[int, Tensor],
    scale: float,
    model: nn.Module,
    modules: ModuleTrace,
) -> Walk:
    """The walk below a scalar that gives its outputs, of any shape, the given gradients."""
    given = grads or {place: torch.ones_like(out) for place, out in enumerate(outputs)}
    with torch.enable_grad():
        root = joined(outputs, {place: grad / scale for place, grad in given.items()})
    return walk(root, names=model, modules=modules)


def _sentences(
    made: Mapping[str, _Made], walked: Walk, modules: ModuleTrace
) -> Iterator[Diagnosis]:
    """What made the first NaN and the first infinity of a forward pass; the cause comes first."""
    numbers = {sequence_number(node): number for number, node in enumerate(walked.nodes)}
    kinds = [kind for kind in ("NaN", "infinity") if kind in made]
    if len(kinds) == 2 and made["NaN"].given == {"infinity"}:
        first = made["infinity"]
        if first.has_node and not first.given:  # without a node, it may be a mask's logarithm
            kinds.reverse()
    for kind in kinds:
        first = made[kind]
        number = numbers.get(first.sequence) if first.has_node else None
        module = modules.module_at(first.sequence)
        where = f"{first.operation} in {module}" if module else first.operation
        if number is not None:
            where = place_of(node := walked.graph.nodes[number])
            module = node.module
        how = "an input is not finite either" if first.given else "its inputs are finite"
        message = f"The first {kind} of the forward pass is the result of {where}; {how}."
        yield Diagnosis("not-finite", module or first.operation, message, number)


@contextmanager
def _as_then(one: Pass) -> Iterator[None]:
    enabled = one.autocast is not None
    with (
        one.random.used(),
        torch.enable_grad(),
        # Cached casts belong to the graph of the pass itself, which may be freed.
        torch.autocast("cpu", one.autocast or torch.bfloat16, enabled, cache_enabled=False),
    ):
        yield
