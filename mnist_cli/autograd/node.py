"""A backward node: what it is, and how to call it.

What torch keeps private is read through :mod:`mnist_cli.autograd.torch_private`. Knows single
nodes, not graphs, names or modules. :mod:`mnist_cli.autograd.saved` reads the values that a node
saves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mnist_cli.autograd import torch_private
from mnist_cli.autograd.bits import shape_of
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import TensorMeta
from mnist_cli.autograd.recomputing import codes
from mnist_cli.autograd.torch_errors import explain

Grads = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Input:
    """What a node expects as one of its incoming gradients.

    ``dtype`` None accepts any dtype. A nested one has no shape: it is not ``known``, but ``ones``
    names the dimensions of one entry.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    device: torch.device
    known: bool = True
    ones: tuple[int, ...] = ()

    def meta(self) -> TensorMeta:
        """The same as plain data."""
        return TensorMeta(self.shape, dtype_name(self.dtype) if self.dtype else "any")


@functools.cache
def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def name(node: Node) -> str:
    """The node's class as torch prints it: ``AddmmBackward0``, ``AccumulateGrad``."""
    return node.name().removeprefix("torch::autograd::")


def variable(node: Node) -> Tensor | None:
    """The leaf whose gradient the node accumulates; None if it is not an AccumulateGrad."""
    if not _has_variable(type(node)):
        return None
    leaf = node.variable  # type: ignore[attr-defined]
    return leaf if isinstance(leaf, Tensor) else None


def _has_variable(kind: type[Node]) -> bool:
    """Whether nodes of a class accumulate; a Function's class may have any attribute."""
    return hasattr(kind, "variable") and not torch_private.is_function_class(kind)


def inputs(node: Node) -> tuple[Input, ...]:
    """What gradients it expects, one for each result of the forward operation."""
    return InputReader().inputs(node)


@dataclass
class InputReader:
    """Reads what nodes expect; what several of them share is made once."""

    _inputs: dict[Any, Input] = field(default_factory=dict)
    _metas: dict[int, tuple[Input, TensorMeta]] = field(default_factory=dict)

    def inputs(self, node: Node) -> tuple[Input, ...]:
        """See :func:`inputs`."""
        expected = tuple([self._input(meta) for meta in torch_private.input_metadata(node)])
        return _chosen(node, expected)

    def _input(self, meta: Any) -> Input:
        shape = shape_of(meta)
        if shape is None:
            return Input((), None, meta.device, known=False, ones=_ones(meta))
        key = (shape, meta.dtype, meta.device)
        found = self._inputs.get(key)
        if found is None:
            found = self._inputs[key] = Input(*key)
        return found

    def outputs(self, expected: tuple[Input, ...]) -> tuple[TensorMeta, ...]:
        """The same as plain data."""
        return tuple([self._meta(one) for one in expected])

    def _meta(self, one: Input) -> TensorMeta:
        known = self._metas.get(id(one))
        if known is None:
            known = self._metas[id(one)] = (one, one.meta())
        return known[1]


def _chosen(node: Node, expected: tuple[Input, ...]) -> tuple[Input, ...]:
    """What is expected where the leaf or the Function chose the dtype itself."""
    leaf = variable(node)
    if leaf is not None:
        wanted = getattr(leaf, "grad_dtype", leaf.dtype)
        if wanted == leaf.dtype:  # not chosen: the leaf's dtype may have changed since the forward
            return expected
        return tuple(Input(i.shape, wanted, i.device, i.known) for i in expected)
    if torch_private.is_function(node) and _mentions(node, "set_output_grad_dtype"):
        return _declared(node, expected)
    return expected


def _declared(node: Node, expected: tuple[Input, ...]) -> tuple[Input, ...]:
    """Inputs of a Function that chose their dtypes, which torch does not show.

    The engine is asked twice, with two dtypes. If it casts both to one dtype, that was declared;
    if it casts neither, the Function accepts any.
    """
    first, second = (
        [_dtype_handed_over(node, number, dtype, expected) for number in range(len(expected))]
        for dtype in (torch.float64, torch.float16)
    )
    return tuple(
        Input(i.shape, a if a == b else None, i.device, i.known)
        for i, a, b in zip(expected, first, second, strict=True)
    )


def _dtype_handed_over(
    node: Node, number: int, dtype: torch.dtype, expected: tuple[Input, ...]
) -> torch.dtype | None:
    one = expected[number]
    grads: list[Tensor | None] = [None] * len(expected)
    grads[number] = torch.zeros(one.shape, dtype=dtype, device=one.device)
    try:
        handed = _handed_over(node, tuple(grads))[number]
    except RuntimeError:  # a result that has no gradient
        return one.dtype
    return None if handed is None else handed.dtype


def _mentions(node: Node, method: str) -> bool:
    """Whether a Function's forward may call a method of ``ctx`` with an effect that cannot be read.

    Looks into decorators, base classes and the functions that it calls by name.
    """
    bases = torch_private.function_of(node).__mro__
    starts = [vars(one).get(name) for one in bases for name in ("forward", "setup_context")]
    return any(method in (*code.co_names, *code.co_consts) for code in codes(starts))


def _ones(meta: Any) -> tuple[int, ...]:
    """The dimensions of one entry of a jagged result; none where torch shows no sizes."""
    try:
        return tuple(place for place, size in enumerate(meta.shape) if size == 1)
    except RuntimeError:
        return ()


def deliver(grad: Tensor, expected: Input) -> Tensor:
    """Bring a gradient of any shape to what the receiving node expects, as the engine does.

    Sums it to the expected shape (which broadcasting had enlarged), then casts it to the expected
    dtype; a 0-d gradient also changes device. Source:
    ``validate_outputs`` in torch/csrc/autograd/engine.cpp.

    Raises:
        UsageError: it does not fit, as the engine finds too.
    """
    if not expected.known:
        enlarged = [place for place in expected.ones if grad.shape[place] != 1]
        return grad.sum(enlarged, keepdim=True) if enlarged else grad
    if expected.dtype is not None and grad.is_complex() and not expected.dtype.is_complex:
        raise UsageError(
            f"a complex gradient ({grad.dtype}) does not fit a real result ({expected.dtype})",
            "Return its real part from the Function's backward.",
        )
    if grad.shape != expected.shape:
        grad = _summed(grad, expected.shape)
    if expected.dtype is not None and grad.dtype != expected.dtype:
        grad = grad.to(expected.dtype)
    return grad if grad.device == expected.device else _moved(grad, expected.device)


def _moved(grad: Tensor, device: torch.device) -> Tensor:
    if grad.dim() == 0:
        return grad.to(device)
    raise UsageError(
        f"a gradient on {grad.device} does not fit a result on {device}",
        f"Make it on {device}.",
    )


def _summed(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return grad.sum_to_size(shape)
    except RuntimeError as error:
        raise UsageError(
            f"a gradient of shape {tuple(grad.shape)} cannot be summed to shape {shape}",
            "Return a gradient of the argument's shape from the Function's backward.",
        ) from error


def call(
    node: Node, grads: Sequence[Tensor | None], ask: Callable[[], Grads] | None = None
) -> Grads:
    """Call a node by hand, as the engine would.

    Args:
        node: any node but an AccumulateGrad, which would really add to ``.grad``.
        grads: one gradient for each result of the forward operation, of its shape; None if missing.
        ask: what the engine hands to a Function that no gradient reaches.

    Returns:
        One gradient or None for each of the node's edges. Hooks do not fire.

    Raises:
        UsageError: the graph was freed, a saved tensor was overwritten since, or a Function's
            backward returns what the engine refuses.
    """
    try:
        if torch_private.is_function(node):
            missing = all(grad is None for grad in grads)
            handed = ask() if ask and missing else _handed(node, tuple(grads))
            return _call_custom(node, handed)
        results = node(*grads)  # type: ignore[operator]
    except RuntimeError as error:
        explain(name(node), error, by_hand=True)
    return results if isinstance(results, tuple) else (results,)


def _call_custom(node: Node, grads: Grads) -> Grads:
    """``apply`` returns a gradient per argument of forward; edges exist for its tensors only."""
    answer = node.apply(*grads)  # type: ignore[attr-defined]
    answers = answer if isinstance(answer, tuple) else (answer,)
    needs = node.needs_input_grad  # type: ignore[attr-defined]
    _check_answers(node, answers, len(needs))
    wanted = [answer for answer, need in zip(answers, needs, strict=False) if need]
    results: list[Tensor | None] = [None] * len(node.next_functions)
    live = (place for place, (target, _) in enumerate(node.next_functions) if target is not None)
    for place, result in zip(live, wanted, strict=True):
        results[place] = result
    return tuple(results)


def _check_answers(node: Node, answers: tuple[Any, ...], count: int) -> None:
    """Refuse what the engine refuses of a Function's backward."""
    if len(answers) < count or any(one is not None for one in answers[count:]):
        raise UsageError(
            f"the backward of {name(node)} returns {len(answers)} gradient(s), not {count}",
            "Return a tuple with one gradient or None for each argument of forward.",
        )
    wrong = [one for one in answers if not isinstance(one, (Tensor, type(None)))]
    if wrong:
        raise UsageError(
            f"the backward of {name(node)} returns a {type(wrong[0]).__name__} as a gradient",
            "Return a tensor or None for each argument of forward.",
        )


def _handed(node: Node, grads: Grads) -> Grads:
    return _handed_over(node, grads) if any(grad is None for grad in grads) else grads


class _SeenError(Exception):
    """Carries what the engine handed to a custom Function's ``apply``."""

    def __init__(self, grads: Grads) -> None:
        self.grads = grads


def _handed_over(node: Node, grads: Grads) -> Grads:
    """The gradients as the engine passes them to ``apply``.

    It replaces missing ones by zeros, unless ``ctx.set_materialize_grads(False)`` was called, and
    ``ctx.set_output_grad_dtype`` makes it cast. Neither can be read back, and the shapes of
    results without a gradient are hidden. So the engine itself runs this one node, with an
    ``apply`` that raises with its arguments: no further node is reached.
    """
    known = [(i, grad) for i, grad in enumerate(grads) if grad is not None]
    if not known:
        return _all_missing(node, grads)
    return handed_over(node, [GradientEdge(node, i) for i, _ in known], [grad for _, grad in known])


def handed_over(node: Node, roots: Tensor | Sequence[GradientEdge], seeds: list[Tensor]) -> Grads:
    """What the engine hands to a Function in a pass that ends there.

    Args:
        node: the Function's node.
        roots: where the pass begins: a tensor of any shape, or edges.
        seeds: their gradients, of their shapes.

    Raises:
        DependencyError: this version of torch calls Functions in another way.
    """

    def seen(*handed: Any) -> NoReturn:
        boxed = len(handed) == 1 and isinstance(handed[0], list)  # boxed_grads_call
        raise _SeenError(tuple(handed[0]) if boxed else handed)

    try:
        with torch_private.apply_replaced(node, seen):
            torch.autograd.backward(roots, seeds, retain_graph=True)
    except _SeenError as answer:
        return answer.grads
    raise torch_private.changed("calls no replaced apply", f"calling {name(node)} by hand")


def _all_missing(node: Node, grads: Grads) -> Grads:
    """Without any gradient the engine cannot run the node: the Function's code decides."""
    if _mentions(node, "set_materialize_grads"):
        return grads
    return tuple(
        torch.zeros(i.shape, dtype=i.dtype, device=i.device) if i.known else None
        for i in inputs(node)
    )
