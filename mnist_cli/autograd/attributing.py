"""The modules of a graph that was walked without a module trace, from its parameters.

A guess that names a module or one around it. Works on plain data. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mnist_cli.autograd.graph import GradGraph, Node
from mnist_cli.autograd.order import operations


def attributed(graph: GradGraph) -> GradGraph:
    """Name the module of each operation by the parameters around it.

    What uses one module's parameters belongs to that module, and so does what is computed from
    them alone, as a transpose is. What lies between two such operations in the forward order
    belongs to the innermost module that holds both their modules.

    Returns:
        The graph itself if it has modules already, or if no parameter names one.
    """
    forward = operations(graph)
    if any(node.module for node in forward):
        return graph
    known = _users(graph, forward)
    if not any(known.values()):
        return graph
    modules = _filled([known.get(node.id, "") for node in forward])
    found = {node.id: module for node, module in zip(forward, modules, strict=True)}
    nodes = tuple(replace(node, module=found.get(node.id, node.module)) for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _users(graph: GradGraph, forward: list[Node]) -> dict[int, str]:
    """The module of each operation that uses a parameter, by id."""
    # What is one module's parameters in another form: the leaves, and then transposes and casts.
    # A node that saves a tensor, or has an edge without a target, has other inputs too.
    pure = {
        node.id: node.module
        for node in graph.nodes
        if node.parameter is not None and "." in node.parameter
    }
    known: dict[int, str] = {}
    for node in forward:
        targets = [edge.node for edge in node.next if edge is not None]
        modules = {pure[target] for target in targets if target in pure}
        if modules:
            known[node.id] = common(modules)
            form = len(modules) == 1 and all(target in pure for target in targets)
            if form and None not in node.next and not node.saved:
                pure[node.id] = known[node.id]
    return known


def _filled(modules: list[str]) -> list[str]:
    """Each empty place between two modules gets the innermost module around both."""
    after: list[str] = []
    following = ""
    for module in reversed(modules):
        following = module or following
        after.append(following)
    filled, before = [], ""
    for module, following in zip(modules, reversed(after), strict=True):
        before = module or before
        between = common([_parent(before), _parent(following)]) if before and following else ""
        filled.append(module or between)
    return filled


def common(paths: Iterable[str]) -> str:
    """The innermost module that holds all of these modules, or is one of them."""
    first, *others = [path.split(".") for path in paths]
    for other in others:
        length = next(
            (i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b),
            min(len(first), len(other)),
        )
        first = first[:length]
    return ".".join(first)


def _parent(module: str) -> str:
    return module.rpartition(".")[0]
