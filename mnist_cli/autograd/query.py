"""Queries of a graph: find a node, a path to a parameter, the part of one module.

Works on plain data. Imports no torch. Folding is :mod:`mnist_cli.autograd.folding`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mnist_cli.autograd.brief import Brief, listed, shortened
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import Edge, GradGraph, ModuleCall, Node, Stats, check_graphs
from mnist_cli.autograd.order import engine_order


def find_nodes(graph: GradGraph, wanted: str) -> tuple[Node, ...]:
    """The nodes that a word names: an id, a node's name, a parameter, or a module.

    The number of a name is optional: ``addmm`` and ``AddmmBackward`` find ``AddmmBackward0``.

    Raises:
        UsageError: nothing has that name; the nearest ones are offered.
    """
    check_graphs(graph)
    word = wanted.strip()
    if word.removeprefix("#").isdecimal():
        word = word.removeprefix("#")
        number = int(word)
        if number < len(graph.nodes):
            return Brief([graph.nodes[number]])
        hint = f"Ids run from 0 to {len(graph.nodes) - 1}."
        raise UsageError(f"the graph has no node {number}", hint)
    matches: tuple[Callable[[Node], bool], ...] = (
        lambda node: node.parameter == word,
        lambda node: node.name == word,
        lambda node: _core(node.name) == _core(word),
        lambda node: bool(word) and node.module == word,
        lambda node: bool(word) and inside(node.module, word),
    )
    for match in matches:
        found = Brief(filter(match, graph.nodes))
        if found:
            return found
    names = {n.name for n in graph.nodes} | {n.parameter for n in graph.nodes if n.parameter}
    raise UsageError(
        f"the graph has no node {wanted!r}",
        nearest(word, sorted(names | {n.module for n in graph.nodes if n.module})),
    )


def find_node(graph: GradGraph, wanted: str) -> Node:
    """The one node that a word names; of a module, its last operation.

    Raises:
        UsageError: it names none, or several; their ids are listed.
    """
    found, word = find_nodes(graph, wanted), wanted.strip()
    of_module = all(node.name != word and inside(node.module, word) for node in found)
    if len(found) == 1 or of_module:
        return found[0]  # the nearest to the loss
    shown = ", ".join(
        f"{n.id} {n.parameter or n.name}{f' ({n.module})' if n.module else ''}" for n in found[:12]
    )
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    raise UsageError(
        f"{len(found)} nodes are called {wanted!r}", f"Choose one by its id: {shown}{more}."
    )


def nearest(wanted: str, names: Sequence[str]) -> str:
    """A hint with the names that are most like the wanted one."""
    lower = {name.lower(): name for name in names}
    part = wanted.lower()
    within = [name for name in lower if len(part) > 1 and part in name]
    close = within[:3] or difflib.get_close_matches(part, list(lower), n=3, cutoff=0.4)
    if close:
        *others, last = (lower[name] for name in close)
        return f"Did you mean {' or '.join([*filter(None, [', '.join(others)]), last])}?"
    shown = ", ".join(list(names)[:12])
    return f"Known: {shown}{' …' if len(names) > 12 else ''}." if names else "It has none."


def _core(name: str) -> str:
    """A node's name without its number and ``Backward``, in lower case."""
    return name.rstrip("0123456789").lower().removesuffix("backward")


@dataclass(frozen=True)
class PathStep:
    """One node on the path from the loss; ``position`` is the edge that leads on."""

    node: Node
    grad: Stats | None
    position: int | None


@dataclass(frozen=True)
class Path:
    """The shortest path from the root to a parameter; ``routes`` counts all paths."""

    parameter: str
    steps: tuple[PathStep, ...]
    routes: int

    def __repr__(self) -> str:
        names = listed((step.node.module or step.node.name for step in self.steps), " → ")
        routes = "1 route" if self.routes == 1 else f"{self.routes:,} routes"
        count = f"{len(self.steps)} nodes, {routes}"
        return f"Path({shortened(self.parameter)}: {names}; {count})"


def path_to(graph: GradGraph, parameter: str) -> Path:
    """The shortest path of the gradient from the root to a parameter, by the first edges.

    Its steps hold what arrived at that input of the node, from all paths together.

    Raises:
        UsageError: no such parameter (the nearest are offered), or the loss does not reach it.
    """
    check_graphs(graph)
    names = [one.name for one in graph.parameters]
    one = next((p for p in graph.parameters if p.name == parameter), None)
    if one is None:
        raise UsageError(f"the graph has no parameter {parameter!r}", nearest(parameter, names))
    if one.node is None:
        raise UsageError(
            f"no path leads from the loss to {parameter!r}",
            "It is frozen, unused, or inside a reentrant checkpoint.",
        )
    came = _first_ways(graph)
    steps = _trace_back(graph, one.node, came)
    return Path(parameter, steps, _routes(graph, one.node))


def _first_ways(graph: GradGraph) -> dict[int, tuple[int, int]]:
    """Breadth first: for each node met, the node before it and the edge taken."""
    came: dict[int, tuple[int, int]] = {}
    seen, queue = {graph.root}, [graph.root]
    for number in queue:
        for position, edge in enumerate(graph.nodes[number].next):
            if edge is not None and edge.node not in seen:
                seen.add(edge.node)
                came[edge.node] = (number, position)
                queue.append(edge.node)
    return came


def _trace_back(
    graph: GradGraph, goal: int, came: dict[int, tuple[int, int]]
) -> tuple[PathStep, ...]:
    steps: list[PathStep] = []
    number, position = goal, None
    while True:
        node = graph.nodes[number]
        input_nr = 0
        if number in came:
            before, taken = came[number]
            way = graph.nodes[before].next[taken]
            input_nr = way.input_nr if way else 0
        grad = node.grad_in[input_nr] if input_nr < len(node.grad_in) else None
        steps.append(PathStep(node, grad, position))
        if number not in came:
            return tuple(reversed(steps))
        number, position = came[number]


def _routes(graph: GradGraph, goal: int) -> int:
    """The number of paths from the root to ``goal``: each node adds its count to those below it."""
    counts = {graph.root: 1}
    for number in engine_order(graph):
        for way in graph.nodes[number].next:
            if way is not None:
                counts[way.node] = counts.get(way.node, 0) + counts.get(number, 0)
    return counts.get(goal, 0)


def inside(module: str, prefix: str) -> bool:
    """Whether a module is the prefix or below it; every module is below an empty prefix."""
    return not prefix or module == prefix or module.startswith(f"{prefix}.")


def select(graph: GradGraph, prefix: str) -> GradGraph:
    """The nodes and parameters of one module and all below it, renumbered.

    An edge that leaves the module becomes None; its gradient's statistics stay in ``grad_out``.
    The root is the module's node nearest to the loss.

    Raises:
        UsageError: no node belongs there; the nearest modules are offered.
    """
    check_graphs(graph)
    chosen = [node for node in graph.nodes if inside(node.module, prefix)]
    if not chosen:
        modules = sorted({node.module for node in graph.nodes if node.module})
        raise UsageError(f"no node belongs to module {prefix!r}", nearest(prefix, modules))
    number = {node.id: position for position, node in enumerate(chosen)}

    def renumbered(edge: Edge | None) -> Edge | None:
        inner = edge is not None and edge.node in number
        return replace(edge, node=number[edge.node]) if edge and inner else None

    nodes = tuple(
        replace(node, id=number[node.id], next=tuple(map(renumbered, node.next))) for node in chosen
    )
    parameters = tuple(
        replace(one, node=None if one.node is None else number.get(one.node))
        for one in graph.parameters
        if inside(one.name.rpartition(".")[0], prefix)
    )
    calls = tuple(_calls_inside(graph.modules, prefix))
    return replace(graph, nodes=nodes, parameters=parameters, root=0, modules=calls)


def _calls_inside(calls: Sequence[ModuleCall], prefix: str) -> Iterator[ModuleCall]:
    """The calls of a module and all below it; ``depth`` counts only these."""
    around: list[int] = []
    for call in calls:
        while around and around[-1] >= call.depth:
            around.pop()
        if inside(call.module, prefix):
            yield replace(call, depth=len(around))
            around.append(call.depth)
