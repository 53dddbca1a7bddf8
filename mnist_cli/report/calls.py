"""A node described in full, and what calling it by hand returned, as torch would print it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mnist_cli.autograd.meanings import meaning

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_cli.autograd.experiment import Experiment, NodeCall
    from mnist_cli.autograd.graph import GradGraph, Node


def node_lines(node: Node, graph: GradGraph) -> Iterator[str]:
    """Everything that is known of a node: what it is, receives, keeps and passes on."""
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


def _target(graph: GradGraph, number: int, input_nr: int) -> str:
    node = graph.nodes[number]
    if node.parameter is not None:
        return f"#{number} AccumulateGrad of {node.parameter}"
    return f"#{number} {node.name}, input {input_nr}"


def call_lines(
    name: str, grads: Sequence[Tensor | None], results: Sequence[Tensor | None]
) -> Iterator[str]:
    """The call as one would type it, and what it returned."""
    given = ", ".join(map(shown, grads))
    yield f"{name}({given}) returns"
    for position, result in enumerate(results):
        yield f"  [{position}] {shown(result)}"


def shown(tensor: Tensor | None) -> str:
    """A tensor as torch prints it, its lines brought into one where it is small."""
    text = repr(tensor)
    return " ".join(text.split()) if len(text) < 400 else text


def experiment_lines(experiment: Experiment) -> Iterator[str]:
    """The value, the node, and every call, order by order."""
    for name, leaf in experiment.leaves.items():
        yield f"{name} = {shown(leaf.detach())}"
    yield f"{experiment.expression} = {shown(experiment.value)}"
    for call in experiment.calls:
        yield ""
        yield from _one_call(call)


def _one_call(call: NodeCall) -> Iterator[str]:
    if call.parent is not None:
        yield f"order {call.order}: the gradient of {call.parent[1]}, {shown(call.value)}"
    yield from node_lines(call.node, call.walked.graph)
    yield from call_lines(call.node.name, call.grads, call.results)
    for target, result in zip(call.targets, call.results, strict=True):
        if target and result is not None:
            yield f"  {target}: {shown(result)}"
    deeper = {name: grad for name, grad in call.gradients.items() if name not in call.targets}
    for name, grad in deeper.items():
        yield f"  taken down to {name}: {shown(grad)}"
