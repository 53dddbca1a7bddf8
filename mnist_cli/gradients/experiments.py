"""One node called by hand: a formula's, or a network's, with a gradient of the user's choice."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_cli.autograd import call_node, experiment, find_node, parse_binding, parse_value
from mnist_cli.autograd.document import plain
from mnist_cli.autograd.experimenting import Experiment, NodeCall
from mnist_cli.autograd.expression import evaluate
from mnist_cli.autograd.graph import GradGraph, Node
from mnist_cli.autograd.meanings import meaning
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.values import fitted
from mnist_cli.base.files import is_regular
from mnist_cli.base.seeding import derive
from mnist_cli.checkpoints.archive import load_tensor
from mnist_cli.devices.memory import explained, is_out_of_memory
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.gradients.batch_loss import BatchLoss

_SAVED = "Save the gradient with torch.save(tensor, path), or write it as JSON."
_NUMBERS = re.compile(r"\s*(\[|[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*$)")
"""How a number or a list begins."""


def call_formula(
    formula: str,
    variables: Sequence[str],
    constants: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int = 0,
) -> Experiment:
    """Compute a formula at some values and call its node.

    Args:
        formula: as :mod:`mnist_cli.autograd.expression` reads it.
        variables: ``name=value`` each, of names that require a gradient.
        constants: the same, of names that need none.
        grad: the gradient to call with, as :func:`read_gradient` reads it.
        orders: number of derivatives; None keeps no graph of the results.
        seed: of a random gradient.

    Raises:
        UsageError: one of them cannot be read.
        OutOfMemory: the numbers do not fit into memory.
    """
    try:
        return _called(formula, variables, constants, grad, orders, seed)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        shortage = explained(error)
        shortage.hint = "Give the formula fewer numbers, or request fewer orders."
        raise shortage from error


def _called(
    formula: str,
    variables: Sequence[str],
    constants: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int,
) -> Experiment:
    leaves: dict[str, Tensor] = {}
    for name, value in map(parse_binding, [*variables, *constants]):
        if name in leaves:
            raise UsageError(f"{name} has two values", "Give each name one value.")
        leaves[name] = value
    for text in constants:
        leaves[parse_binding(text)[0]].requires_grad_(False)
    given = None
    if grad is not None:
        given = read_gradient(grad, tuple(evaluate(formula, leaves).shape), seed)
    return experiment(formula, leaves, given, create_graph=orders is not None, orders=orders or 1)


@dataclass(frozen=True, eq=False)
class CalledNode:
    """A node of a network; ``grads`` and ``results`` are empty if it was not called."""

    node: Node
    graph: GradGraph
    grads: Grads = ()
    results: Grads = ()


def call_one(batch: BatchLoss, wanted: str, grad: str | None, *, create_graph: bool) -> CalledNode:
    """Find a node of a network and call it; an AccumulateGrad is described only.

    Args:
        batch: the network and its images.
        wanted: id or name of the node.
        grad: the gradient to call with, as :func:`read_gradient` reads it; default: ones.
        create_graph: keep grad mode on, so that the results have a graph themselves.

    Raises:
        UsageError: no such node (the nearest are named), an AccumulateGrad with a gradient, or a
            gradient of the wrong shape.
    """
    with batch.walked() as walked:
        node = find_node(walked.graph, wanted)
        if node.parameter is not None and grad is None and not create_graph:
            return CalledNode(node, walked.graph)
        grads = tuple(
            read_gradient(grad or "ones", one.shape, batch.seed).to(one.device, one.dtype)
            for one in walked.inputs[node.id]
        )
        results = call_node(walked.nodes[node.id], *grads, create_graph=create_graph)
        return CalledNode(node, walked.graph, grads, results)


def read_gradient(text: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A gradient of a shape: ``ones``, ``random``, a number, a JSON list, or a file that holds one.

    Returns:
        float32 or the file's dtype, on the CPU; what fits the shape in no way is not changed.

    Raises:
        UsageError: it cannot be read.
        CheckpointError: a file of torch.save that is damaged or hostile.
    """
    if text.lower() == "ones":
        return torch.ones(shape)
    if text.lower() == "random":
        generator = torch.Generator().manual_seed(derive(seed, "gradient"))
        return torch.randn(shape, generator=generator)
    return fitted(_from_file(Path(text)) if _is_file(text) else _parsed(text), shape)


def _is_file(text: str) -> bool:
    try:
        return is_regular(Path(text))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # as a long list of numbers is
            return False
        raise


def _parsed(text: str) -> Tensor:
    if _NUMBERS.match(text):
        return parse_value(text, "the gradient")
    try:
        return parse_value(text)
    except UsageError as error:
        raise UsageError(
            f"the gradient {text[:60]} is neither ones, random, a number, a JSON list nor a file",
            error.hint,
        ) from error


def _from_file(path: Path) -> Tensor:
    if path.suffix != ".json":
        return _saved_tensor(path)
    try:
        return parse_value(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the gradient {path}: {reason}", _SAVED) from error


def _saved_tensor(path: Path) -> Tensor:
    try:
        return load_tensor(path)
    except CheckpointError as error:
        error.hint = _SAVED
        raise


def formula_document(found: Experiment) -> dict[str, Any]:
    """The experiment as plain values: ``results`` is what the first call returned."""
    first = found.calls[0]
    return {
        "expression": found.expression,
        "at": {name: _numbers(leaf) for name, leaf in found.leaves.items()},
        "value": _numbers(found.value),
        **_formula_call(first),
        "orders": [
            {
                "order": call.order,
                "of": None if call.parent is None else call.parent[1],
                "value": _numbers(call.value),
                **_formula_call(call),
            }
            for call in found.calls[1:]
        ],
    }


def _formula_call(call: NodeCall) -> dict[str, Any]:
    gradients = {name: _numbers(grad) for name, grad in call.gradients.items()}
    return {**call_document(call), "gradients": gradients}


def call_document(call: NodeCall | CalledNode) -> dict[str, Any]:
    """A call as plain values: the node as in a dump, with its meaning in words."""
    return {
        "node": {**plain(call.node), "meaning": meaning(call.node.name)},
        "grad": [_numbers(grad) for grad in call.grads],
        "results": [_numbers(result) for result in call.results],
    }


def _numbers(tensor: Tensor | None) -> Any:
    """Nested lists; what JSON cannot hold is a string, as in a dump."""
    return None if tensor is None else plain(tensor.detach().tolist())
