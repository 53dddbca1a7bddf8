"""The norms of the gradient from module to module. Works on plain data and imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from mnist_cli.autograd.brief import Brief
from mnist_cli.autograd.graph import GradGraph, Node, Parameter, check_graphs, joint_norm
from mnist_cli.autograd.order import operations


@dataclass(frozen=True)
class FlowPoint:
    """One module on the gradient's way, in forward order.

    ``arriving`` and ``leaving`` are the norms of all gradients that enter and leave it; None if
    there are none. ``weights`` is the norm of its own parameters' gradients. It is ``silent`` if
    some of these parameters require a gradient and get none.
    """

    module: str
    nodes: int
    arriving: float | None
    leaving: float | None
    weights: float | None
    silent: bool = False


def gradient_flow(graph: GradGraph) -> tuple[FlowPoint, ...]:
    """Every module in the order in which its forward began; for the figure of the flow.

    Modules that the gradient does not reach have no nodes; the model's order places them.
    """
    check_graphs(graph)
    reached: dict[str, list[Node]] = {}
    for node in operations(graph):
        reached.setdefault(node.module, []).append(node)
    owners = [_owner(one) for one in graph.parameters if not one.frozen]
    members = _with_absent(reached, list(dict.fromkeys(owners)))
    module_of = {n.id: n.module for n in graph.nodes if n.parameter is None}
    entered = {
        (edge.node, edge.input_nr)
        for node, _, edge in graph.edges()
        if module_of.get(edge.node) != module_of.get(node.id)
    }
    roots = graph.nodes[graph.root :][:1]
    entered |= {(root.id, nr) for root in roots for nr in range(len(root.grad_in))}
    own: dict[str, list[Parameter]] = {}
    for one in graph.parameters:
        own.setdefault(_owner(one), []).append(one)
    return Brief(
        _point(name, nodes, own.get(name, []), module_of, entered)
        for name, nodes in members.items()
    )


def _owner(parameter: Parameter) -> str:
    return parameter.name.rpartition(".")[0]


def _with_absent(reached: dict[str, list[Node]], owners: list[str]) -> dict[str, list[Node]]:
    """Insert the owners of parameters that are not reached, each before the next that is."""
    waiting: list[str] = []
    before: dict[str, list[str]] = {}
    for owner in owners:
        if owner in reached:
            before[owner], waiting = waiting, []
        else:
            waiting.append(owner)
    members: dict[str, list[Node]] = {}
    for module, nodes in reached.items():
        members |= {absent: [] for absent in before.get(module, ())}
        members[module] = nodes
    return members | {absent: [] for absent in waiting}


def _point(
    module: str,
    nodes: list[Node],
    own: list[Parameter],
    module_of: Mapping[int, str],
    entered: Set[tuple[int, int]],
) -> FlowPoint:
    arriving = [
        stats for node in nodes for nr, stats in enumerate(node.grad_in) if (node.id, nr) in entered
    ]
    leaving = [
        stats
        for node in nodes
        for edge, stats in zip(node.next, node.grad_out, strict=False)
        if edge is not None and module_of.get(edge.node, module) != module
    ]
    return FlowPoint(
        module,
        len(nodes),
        joint_norm(arriving),
        joint_norm(leaving),
        joint_norm(p.grad for p in own),
        silent=any(p.grad is None and not p.frozen for p in own),
    )
