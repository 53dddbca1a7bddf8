"""A node described in full, and what calling it by hand returned, as torch would print it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mnist_cli.autograd.graph import GradGraph, Node
from mnist_cli.autograd.meanings import meaning
from mnist_cli.report.steps import describe

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_cli.autograd.experimenting import Experiment, NodeCall
    from mnist_cli.autograd.node import Grads

SMALL = 20
"""Entries up to which a tensor is shown in a line."""
LARGE = 100
"""Entries above which only the corners of a matrix are shown."""
CUT = f"above {LARGE} numbers only the corners are shown; --json has them all"


def node_lines(node: Node, graph: GradGraph) -> Iterator[str]:
    """All that a graph knows about a node: inputs, saved values and targets."""
    yield f"#{node.id} {node.name}" + (f"   made by module {node.module}" if node.module else "")
    if text := meaning(node.name):
        yield f"  computes    {text}"
    if node.sequence is not None:
        yield f"  sequence    {node.sequence}, counted in forward order"
    for number, output in enumerate(node.outputs):
        yield f"  receives    [{number}] a gradient of shape {output.shape}, {output.dtype}"
    for name, value in node.attributes.items():
        yield f"  attribute   {name} = {value}"
    for saved in node.saved:
        yield (
            f"  keeps       {saved.slot}: {saved.shape} {saved.dtype}, {saved.bytes:,} bytes, "
            f"storage {saved.storage}"
        )
    for position, edge in enumerate(node.next):
        yield f"  result [{position}]  " + (
            "needs no gradient"
            if edge is None
            else f"to {_target(graph, edge.node, edge.input_nr)}"
        )
    if node.parameter is not None:
        yield "  not called  it would add to the parameter's .grad; call the node before it"


def _target(graph: GradGraph, number: int, input_nr: int) -> str:
    node = graph.nodes[number]
    if node.parameter is not None:
        return f"#{number} AccumulateGrad of {node.parameter}"
    return f"#{number} {node.name}, input {input_nr}"


def called_node_lines(node: Node, graph: GradGraph, grads: Grads, results: Grads) -> Iterator[str]:
    """A node of a network, and its call if there was one."""
    yield from node_lines(node, graph)
    if grads:
        yield from call_lines(node.name, grads, results)
    yield from cut_lines([*grads, *results])


def call_lines(
    name: str,
    grads: Sequence[Tensor | None],
    results: Sequence[Tensor | None],
    targets: Sequence[str] = (),
) -> Iterator[str]:
    """The call of a node as Python, and its results.

    Args:
        name: of the node.
        grads: its arguments, of any shape; large ones are named and shown before the call.
        results: its results, of any shape.
        targets: the receiver of each result, or an empty string; may be shorter.
    """
    names = [f"grad[{i}]" if len(grads) > 1 else "grad" for i in range(len(grads))]
    large = [grad is not None and not _small(grad) for grad in grads]
    for label, grad, is_large in zip(names, grads, large, strict=True):
        if is_large:
            yield from _tensor_lines(f"{label} =", grad)
    given = [
        n if is_large else shown(g) for n, g, is_large in zip(names, grads, large, strict=True)
    ]
    yield f"{name}({', '.join(given)}) returns"
    for position, result in enumerate(results):
        target = targets[position] if position < len(targets) else ""
        yield from _tensor_lines(f"  [{position}]", result, f"   to {target}" if target else "")


def _tensor_lines(label: str, tensor: Tensor | None, where: str = "") -> Iterator[str]:
    """A small tensor in one line; a large one's statistics, then its rows."""
    if tensor is None or _small(tensor):
        yield f"{label} {shown(tensor)}{where}"
        return
    yield f"{label} {describe(tensor)}{where}"
    yield from _rows(tensor)


def _small(tensor: Tensor) -> bool:
    return tensor.numel() <= SMALL


def _rows(tensor: Tensor) -> Iterator[str]:
    """A matrix as torch prints it; a tensor with more dimensions would be too long."""
    if tensor.dim() <= 2:
        yield from (f"      {line}" for line in _cut(tensor).splitlines())


def _cut(tensor: Tensor) -> str:
    """The tensor as torch prints it, cut above :data:`LARGE` numbers."""
    import torch

    torch.set_printoptions(threshold=LARGE)
    try:
        return repr(tensor)
    finally:
        torch.set_printoptions(profile="default")


def cut_lines(tensors: Sequence[Tensor | None]) -> Iterator[str]:
    """A line that says so if one of them, of any shape, is not shown whole."""
    if any(one is not None and one.dim() <= 2 and one.numel() > LARGE for one in tensors):
        yield CUT


def shown(tensor: Tensor | None) -> str:
    """A small tensor of any shape, as torch prints it, in one line."""
    return " ".join(repr(tensor).split())


def experiment_lines(experiment: Experiment) -> Iterator[str]:
    """The value, the node, and every call, order by order."""
    for name, leaf in experiment.leaves.items():
        yield from _tensor_lines(f"{name} =", leaf.detach())
    yield from _tensor_lines(f"{experiment.expression} =", experiment.value)
    for call in experiment.calls:
        yield ""
        yield from _one_call(call)
    yield from cut_lines([one for call in experiment.calls for one in (*call.grads, *call.results)])


def _one_call(call: NodeCall) -> Iterator[str]:
    if call.parent is not None:
        label = f"order {call.order}: the gradient of {call.parent[1]} ="
        yield from _tensor_lines(label, call.value)
    yield from node_lines(call.node, call.walked.graph)
    yield from call_lines(call.node.name, call.grads, call.results, call.targets)
    for name, grad in call.gradients.items():
        if not _is_whole(call, name):
            yield from _tensor_lines(f"  gradient of {name} =", grad)


def _is_whole(call: NodeCall, name: str) -> bool:
    """Whether one of the results is the whole gradient of a variable."""
    leads_on = any(target and target not in call.gradients for target in call.targets)
    return call.targets.count(name) == 1 and not leads_on
