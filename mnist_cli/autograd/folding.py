"""A large graph made small: each call of a module becomes one node.

Works on plain data. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

from mnist_cli.autograd.graph import Edge, GradGraph, Node, TensorMeta, check_graphs
from mnist_cli.autograd.order import operations

T = TypeVar("T")

MANY = 400
"""Nodes above which a picture is folded to modules by default."""


@dataclass(eq=False)
class _Group:
    """Nodes that become one: one call of one module, with the parameters that only it uses.

    ``ports`` numbers the (node, input) pairs at which gradients come in from outside.
    """

    name: str
    members: list[Node] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    number: int = -1
    ports: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def single(self) -> Node | None:
        """The node itself, if it is alone."""
        if len(self.members) + len(self.parameters) > 1:
            return None
        return self.members[0] if self.members else self.parameters[0]


def fold(graph: GradGraph, depth: int = 1) -> GradGraph:
    """A smaller graph, in which each call of a module is one node.

    Args:
        graph: any graph that was walked with a module trace.
        depth: modules below this level are folded into the one at that level.

    Returns:
        A graph with the same root and the same parameters. A folded node has its module's name.
        ``outputs`` and ``grad_in`` are its inputs from outside; ``next`` and ``grad_out`` are the
        edges that leave it. ``saved`` lists the values that its nodes save; slots begin with the
        old id. ``attributes["nodes"]`` is its number of nodes; ``sequence`` is the number of its
        last operation. Figures are the recorded ones, never averages. Nodes outside of all modules
        are not folded: together they would make a cycle. Nor are parameters of several calls.
    """
    check_graphs(graph)
    groups = _group(graph, depth)
    owner = {n.id: g for g in groups for n in (*g.members, *g.parameters)}
    order = _group_order(graph, owner)
    for number, group in enumerate(order):
        group.number = number
    _find_ports(graph, owner)
    parameters = tuple(
        replace(p, node=None if p.node is None else owner[p.node].number) for p in graph.parameters
    )
    nodes = tuple(_folded(graph, group, owner) for group in order)
    return replace(graph, nodes=nodes, parameters=parameters, root=0)


def _group(graph: GradGraph, depth: int) -> list[_Group]:
    """Runs of the forward pass within one module.

    Edges lead from later to earlier operations, so contracting a run of neighbours in that order
    cannot make a cycle. Contracting all calls of a shared module could.
    """
    groups: list[_Group] = []
    for node in operations(graph):
        name = ".".join(node.module.split(".")[:depth])
        if not (groups and name and groups[-1].name == name):
            groups.append(_Group(name))
        groups[-1].members.append(node)
    return groups + _leaf_groups(graph, groups)


def _leaf_groups(graph: GradGraph, groups: list[_Group]) -> list[_Group]:
    """Put each leaf into the one folded group that uses it, or into a group of its own."""
    owner = {node.id: group for group in groups for node in group.members}
    users: dict[int, list[_Group]] = {}
    for node, _, edge in graph.edges():
        if graph.nodes[edge.node].parameter is not None:
            users.setdefault(edge.node, []).append(owner[node.id])
    alone = []
    for node in graph.nodes:
        if node.parameter is None:
            continue
        found = users.get(node.id, [])
        if found and found[0].name and all(group is found[0] for group in found):
            found[0].parameters.append(node)
        else:
            alone.append(_Group("", [node]))
    return alone


def _group_order(graph: GradGraph, owner: dict[int, _Group]) -> list[_Group]:
    """Breadth first from the root's group, as a walk would number them."""
    order = dict.fromkeys([owner[graph.root]] if graph.nodes else [])
    queue = list(order)
    for group in queue:
        for node in sorted(group.members, key=lambda n: n.id):
            for edge in node.next:
                if edge is not None and owner[edge.node] not in order:
                    order[owner[edge.node]] = None
                    queue.append(owner[edge.node])
    return queue


def _find_ports(graph: GradGraph, owner: dict[int, _Group]) -> None:
    """A single node keeps all its inputs, used or not, and so does the root."""
    for node in graph.nodes:
        if owner[node.id].single or node.id == graph.root:
            for nr in range(len(node.outputs)):
                _add_port(owner[node.id], node.id, nr)
    for node, _, edge in graph.edges():
        if owner[edge.node] is not owner[node.id]:
            _add_port(owner[edge.node], edge.node, edge.input_nr)


def _add_port(group: _Group, node: int, input_nr: int) -> None:
    group.ports.setdefault((node, input_nr), len(group.ports))


def _folded(graph: GradGraph, group: _Group, owner: dict[int, _Group]) -> Node:
    """One node for the group; a single node only gets new numbers."""

    def moved(edge: Edge) -> Edge:
        target = owner[edge.node]
        return Edge(target.number, target.ports[edge.node, edge.input_nr])

    if group.single:
        ways = tuple(None if edge is None else moved(edge) for edge in group.single.next)
        return replace(group.single, id=group.number, next=ways)
    leaving = [
        (moved(edge), _at(node.grad_out, position))
        for node in sorted(group.members, key=lambda n: n.id)
        for position, edge in enumerate(node.next)
        if edge is not None and owner[edge.node] is not group
    ]
    ports = [(graph.nodes[inner], nr) for inner, nr in group.ports]
    recorded = any(node.grad_in or node.grad_out for node in group.members)
    nodes = [*group.members, *group.parameters]
    return Node(
        id=group.number,
        name=group.name,
        module=group.name,
        sequence=group.members[-1].sequence,
        outputs=tuple(_at(n.outputs, nr) or TensorMeta((), "unknown") for n, nr in ports),
        next=tuple(edge for edge, _ in leaving),
        saved=tuple(
            replace(saved, slot=f"{node.id}.{saved.slot}")
            for node in group.members
            for saved in node.saved
        ),
        attributes={
            "nodes": len(nodes),
            "operations": [node.name for node in reversed(group.members)],
            "parameters": [node.parameter for node in group.parameters],
        },
        grad_in=tuple(_at(n.grad_in, nr) for n, nr in ports) if recorded else (),
        grad_out=tuple(stats for _, stats in leaving) if recorded else (),
    )


def _at(items: tuple[T, ...], position: int) -> T | None:
    return items[position] if position < len(items) else None
