"""The shape of a gradient graph: dominators and longest paths."""

from __future__ import annotations

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.order import engine_order


def consumers(graph: GradGraph) -> list[list[int]]:
    """For each node the nodes that pass gradients to it, each once, in the order of ids."""
    result: list[dict[int, None]] = [{} for _ in graph.nodes]
    for node, _, edge in graph.edges():
        result[edge.node][node.id] = None
    return [list(users) for users in result]


def dominators(graph: GradGraph) -> list[int | None]:
    """For each node, the nearest other node that every path from the root to it passes.

    None for the root and for nodes that the root does not reach. Without a cycle, one pass in
    topological order is enough (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm",
    2001). An edge against that order is ignored.
    """
    before, order = consumers(graph), engine_order(graph)
    place = {node: i for i, node in enumerate(order)}
    parent = [-1] * len(graph)
    depth = [-1] * len(graph)
    if graph.nodes:
        depth[graph.root] = 0
    for node in order:
        ways = [c for c in before[node] if depth[c] >= 0 and place[c] < place[node]]
        if node == graph.root or not ways:
            continue
        common = ways[0]
        for other in ways[1:]:
            while common != other:
                if depth[common] < depth[other]:
                    common, other = other, common
                common = parent[common]
        parent[node], depth[node] = common, depth[common] + 1
    return [None if above < 0 else above for above in parent]


def heights(graph: GradGraph) -> list[int]:
    """For each node the length of the longest path from it to a leaf."""
    result = [0] * len(graph)
    for node in reversed(engine_order(graph)):
        ends = (edge.node for edge in graph.nodes[node].next if edge is not None)
        result[node] = max((result[end] + 1 for end in ends), default=0)
    return result


def depths(graph: GradGraph) -> list[int]:
    """For each node the length of the longest path from the root to it."""
    result = [0] * len(graph)
    for node in engine_order(graph):
        for edge in graph.nodes[node].next:
            if edge is not None:
                result[edge.node] = max(result[edge.node], result[node] + 1)
    return result
