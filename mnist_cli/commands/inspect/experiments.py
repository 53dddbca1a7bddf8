"""``--expr`` and ``--node``: one node described in full and called by hand."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.base.files import is_regular
from mnist_cli.base.seeding import derive
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_cli.autograd.experimenting import Experiment, NodeCall
    from mnist_cli.autograd.graph import Node
    from mnist_cli.commands.inspect.subject import Subject


def run_expression(
    expression: str,
    bindings: Sequence[str],
    constants: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int = 0,
) -> Experiment:
    """Compute an expression at some values and call its node.

    Args:
        expression: the formula.
        bindings: ``name=value`` each, of leaves that require a gradient.
        constants: the same, of names that need none.
        grad: what the node is called with, as :func:`_gradient` reads it; ones if None.
        orders: how far to go into the gradients' own graphs; None is not at all.
        seed: where a random gradient comes from.

    Raises:
        UsageError: any of them cannot be read.
    """
    from mnist_cli.autograd.experimenting import experiment
    from mnist_cli.autograd.expression import evaluate
    from mnist_cli.autograd.values import parse_binding

    leaves = dict(map(parse_binding, [*bindings, *constants]))
    if len(leaves) < len(bindings) + len(constants):
        raise UsageError("a name is given two values", "Give each name one --at or --const.")
    for text in constants:
        leaves[parse_binding(text)[0]].requires_grad_(False)
    given = None
    if grad is not None:
        value = evaluate(expression, leaves)
        given = _gradient(grad, tuple(value.shape), value.dtype, value.device, seed)
    return experiment(
        expression, leaves, given, create_graph=orders is not None, orders=orders or 1
    )


def expression_document(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain values: ``results`` is what the first call returned."""
    first = experiment.calls[0]
    return {
        "expression": experiment.expression,
        "at": {name: _numbers(leaf) for name, leaf in experiment.leaves.items()},
        "value": _numbers(experiment.value),
        **_call_document(first),
        "orders": [
            {
                "order": call.order,
                "of": None if call.parent is None else call.parent[1],
                "value": _numbers(call.value),
                **_call_document(call),
            }
            for call in experiment.calls[1:]
        ],
    }


def _call_document(call: NodeCall) -> dict[str, Any]:
    return {
        "node": node_document(call.node),
        "grad": [_numbers(grad) for grad in call.grads],
        "results": [_numbers(result) for result in call.results],
        "gradients": {name: _numbers(grad) for name, grad in call.gradients.items()},
    }


def node_document(node: Node) -> dict[str, Any]:
    """A node as it stands in a dump, with what it computes in words."""
    from mnist_cli.autograd.document import plain
    from mnist_cli.autograd.meanings import meaning

    return {**plain(node), "meaning": meaning(node.name)}


def _numbers(tensor: Tensor | None) -> Any:
    """Nested lists; what JSON cannot hold is a string, as in a dump."""
    from mnist_cli.autograd.document import plain as writable
    from mnist_cli.autograd.experimenting import plain

    return writable(plain(tensor))


class CalledNode:
    """A node of a real network, called by hand.

    An AccumulateGrad is described and not called: it would add to the parameter's ``.grad``.

    Raises:
        UsageError: no such node (the nearest are offered), one that is not called, or a
            gradient that does not fit.
    """

    def __init__(
        self, subject: Subject, wanted: str, grad: str | None, *, create_graph: bool
    ) -> None:
        from mnist_cli.autograd import call_node, find_node

        self.grads: tuple[Tensor | None, ...] = ()
        self.results: tuple[Tensor | None, ...] = ()
        with subject.walked() as walked:
            self.graph = walked.graph
            self.node = find_node(walked.graph, wanted)
            if self.node.parameter is not None and grad is None and not create_graph:
                return
            self.grads = tuple(
                _gradient(grad, one.shape, one.dtype, one.device, subject.seed)
                for one in walked.inputs[self.node.id]
            )
            live = walked.nodes[self.node.id]
            self.results = call_node(live, *self.grads, create_graph=create_graph)

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "node": node_document(self.node),
            "grad": [_numbers(grad) for grad in self.grads],
            "results": [_numbers(result) for result in self.results],
        }


def _gradient(
    text: str | None, shape: tuple[int, ...], dtype: Any, device: Any, seed: int
) -> Tensor:
    """Ones, random numbers, one number for all, a JSON list, or what a file holds.

    As many numbers in a row as the shape has entries are brought into it; any other tensor is
    left as it is, for whoever is called with it to refuse.
    """
    import torch

    dtype = dtype or torch.float32
    if text is None or text == "ones":
        return torch.ones(shape, dtype=dtype, device=device)
    if text == "random":
        generator = torch.Generator().manual_seed(derive(seed, "gradient"))
        return torch.randn(shape, generator=generator).to(device, dtype)
    values = _from_file(Path(text)) if _is_file(text) else _parsed(text)
    if values.numel() == 1 and not values.shape:
        values = values.expand(shape).clone()
    elif values.dim() == 1 and values.numel() == math.prod(shape):
        values = values.reshape(shape)
    return values.to(device, dtype)


def _is_file(text: str) -> bool:
    try:
        return is_regular(Path(text))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # as a long list of numbers is
            return False
        raise


def _parsed(text: str) -> Tensor:
    from mnist_cli.autograd.values import parse_value

    try:
        return parse_value(text, "--grad")
    except UsageError as error:
        raise UsageError(
            f"--grad {text[:60]}: neither ones, random, a number, a JSON list nor a file",
            error.hint,
        ) from error


def _from_file(path: Path) -> Tensor:
    """A gradient from a JSON file, or a tensor that torch.save wrote, read as safely as a checkpoint."""
    from mnist_cli.autograd.values import parse_value

    if path.suffix == ".json":
        try:
            return parse_value(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the gradient {path}: {error}") from error
    from mnist_cli.checkpoints.archive import load_tensor

    return load_tensor(path)
