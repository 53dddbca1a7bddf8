"""A large graph made small: each call of a module becomes one node.

Works on plain data; knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mnist_cli.autograd.graph import Edge, GradGraph, Node, Saved, Stats, TensorMeta
from mnist_cli.autograd.order import operations
from mnist_cli.autograd.query import inside


@dataclass
class _Group:
    """Nodes that become one: one call of one module, with the parameters that only it uses."""

    name: str
    members: list[Node] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)

    @property
    def single(self) -> bool:
        return len(self.members) + len(self.parameters) == 1


def fold(graph: GradGraph, depth: int | None = 1, prefixes: Iterable[str] = ()) -> GradGraph:
    """A smaller graph, in which each call of a module is one node.

    Args:
        graph: any graph that was walked with a module trace.
        depth: modules deeper than this many levels are folded into the one at that level;
            None folds by ``prefixes`` alone.
        prefixes: modules to fold whole, whatever the depth.

    Returns:
        A graph with the same root and the same parameters. A folded node is called as its
        module; ``outputs`` and ``grad_in`` are what it receives from outside, ``next`` and
        ``grad_out`` every edge that leaves it, ``saved`` what all its nodes keep (slots begin
        with the old id), ``attributes["nodes"]`` how many it stands for, ``sequence`` that of
        its last operation. Figures are the recorded ones, never averages. Nodes outside of
        all modules stay as they are, for folded into one they would make a cycle; so do
        parameters used by several calls.
    """
    groups = _group(graph, depth, tuple(prefixes))
    owner = {n.id: g for g in groups for n in (*g.members, *g.parameters)}
    order = _group_order(graph, owner)
    number = {id(group): position for position, group in enumerate(order)}
    ports = _ports(graph, owner)
    nodes = [_folded(graph, g, number, ports, owner) for g in order]
    parameters = tuple(
        replace(p, node=None if p.node is None else number[id(owner[p.node])])
        for p in graph.parameters
    )
    return replace(graph, nodes=tuple(nodes), parameters=parameters, root=0)


def _key(module: str, depth: int | None, prefixes: tuple[str, ...]) -> str:
    """The module that a path is folded into; empty where it stays as it is."""
    for prefix in prefixes:
        if prefix and inside(module, prefix):
            return prefix
    return ".".join(module.split(".")[:depth]) if depth and module else ""


def _group(graph: GradGraph, depth: int | None, prefixes: tuple[str, ...]) -> list[_Group]:
    """Runs of the forward pass within one module.

    Edges lead from later to earlier operations, so that contracting a run of neighbours in
    that order cannot make a cycle, while contracting all calls of a shared module could.
    """
    groups: list[_Group] = []
    for node in operations(graph):
        name = _key(node.module, depth, prefixes)
        if not (groups and name and groups[-1].name == name):
            groups.append(_Group(name))
        groups[-1].members.append(node)
    return groups + _leaf_groups(graph, groups)


def _leaf_groups(graph: GradGraph, groups: list[_Group]) -> list[_Group]:
    """Put each leaf into the one folded group that uses it, or leave it by itself."""
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
    order = [owner[graph.root]] if graph.nodes else []
    seen = {id(group) for group in order}
    for group in order:
        for node in sorted(group.members, key=lambda n: n.id):
            for edge in node.next:
                target = owner[edge.node] if edge is not None else group
                if id(target) not in seen:
                    seen.add(id(target))
                    order.append(target)
    return order


Ports = dict[int, list[tuple[int, int]]]


def _ports(graph: GradGraph, owner: dict[int, _Group]) -> Ports:
    """For each group, the (node, input) pairs at which gradients come in from outside.

    A node by itself keeps all its inputs, used or not.
    """
    ports: Ports = {id(group): _own_inputs(group) for group in owner.values()}
    if graph.nodes and not ports[id(owner[graph.root])]:
        count = len(graph.nodes[graph.root].outputs)
        ports[id(owner[graph.root])] = [(graph.root, nr) for nr in range(count)]
    for node, _, edge in graph.edges():
        group, port = owner[edge.node], (edge.node, edge.input_nr)
        if group is not owner[node.id] and port not in ports[id(group)]:
            ports[id(group)].append(port)
    return ports


def _own_inputs(group: _Group) -> list[tuple[int, int]]:
    if not group.single:
        return []
    node = (group.members or group.parameters)[0]
    return [(node.id, nr) for nr in range(len(node.outputs))]


def _folded(
    graph: GradGraph,
    group: _Group,
    number: dict[int, int],
    ports: Ports,
    owner: dict[int, _Group],
) -> Node:
    """One node that stands for the group; of a node by itself only the numbers change."""

    def moved(edge: Edge) -> Edge:
        target = owner[edge.node]
        return Edge(number[id(target)], ports[id(target)].index((edge.node, edge.input_nr)))

    if group.single:
        node = (group.members or group.parameters)[0]
        ways = tuple(None if edge is None else moved(edge) for edge in node.next)
        return replace(node, id=number[id(group)], next=ways)
    leaving = [
        (moved(edge), node.grad_out[position] if position < len(node.grad_out) else None)
        for node in sorted(group.members, key=lambda n: n.id)
        for position, edge in enumerate(node.next)
        if edge is not None and owner[edge.node] is not group
    ]
    mine, recorded = ports[id(group)], _recorded(group)
    return Node(
        id=number[id(group)],
        name=group.name,
        module=group.name,
        sequence=group.members[-1].sequence,
        outputs=tuple(_port_meta(graph, port) for port in mine),
        next=tuple(edge for edge, _ in leaving),
        saved=tuple(_all_saved(group)),
        attributes=_summary(group),
        grad_in=tuple(_port_grad(graph, port) for port in mine) if recorded else (),
        grad_out=tuple(stats for _, stats in leaving) if recorded else (),
    )


def _recorded(group: _Group) -> bool:
    return any(node.grad_in or node.grad_out for node in group.members)


def _port_meta(graph: GradGraph, port: tuple[int, int]) -> TensorMeta:
    number, nr = port
    outputs = graph.nodes[number].outputs
    return outputs[nr] if nr < len(outputs) else TensorMeta((), "unknown")


def _port_grad(graph: GradGraph, port: tuple[int, int]) -> Stats | None:
    number, nr = port
    arrived = graph.nodes[number].grad_in
    return arrived[nr] if nr < len(arrived) else None


def _all_saved(group: _Group) -> Iterable[Saved]:
    for node in group.members:
        for saved in node.saved:
            yield replace(saved, slot=f"{node.id}.{saved.slot}")


def _summary(group: _Group) -> dict[str, object]:
    members = [*group.members, *group.parameters]
    return {
        "nodes": len(members),
        "operations": [node.name for node in reversed(group.members)],
        "parameters": [node.parameter for node in group.parameters],
    }
