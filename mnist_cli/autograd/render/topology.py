"""Orders of a gradient graph's nodes: the forward pass's, the engine's, and who dominates whom.

All of them hold for graphs that were read from a file and may be odd: a cycle, which a folded
graph can have, is cut where it is met, and nodes that the root does not reach are kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from mnist_cli.autograd.graph import GradGraph


def producers(graph: GradGraph) -> list[list[int]]:
    """For each node the nodes that it passes gradients to, each once, in the order of inputs."""
    size = len(graph)
    return [
        list(dict.fromkeys(e.node for e in node.next if e is not None and e.node < size))
        for node in graph.nodes
    ]


def consumers(graph: GradGraph) -> list[list[int]]:
    """For each node the nodes that pass gradients to it, each once, in the order of ids."""
    result: list[list[int]] = [[] for _ in graph.nodes]
    for node, inputs in enumerate(producers(graph)):
        for producer in inputs:
            result[producer].append(node)
    return result


def engine_order(graph: GradGraph) -> list[int]:
    """The order in which autograd's engine calls the nodes: of those ready, the latest made first.

    AccumulateGrad has no place in the sequence and is called as soon as it is ready.
    """
    keys = [
        float("-inf") if not any(node.next) else float(-(node.sequence or 0))
        for node in graph.nodes
    ]
    return list(_kahn(consumers(graph), producers(graph), keys))


def forward_order(graph: GradGraph) -> list[int]:
    """The order in which the forward pass made the nodes, each leaf just before its first use."""
    after, before = consumers(graph), producers(graph)
    keys = _forward_keys(graph, list(_kahn(after, before, [0.0] * len(graph))), after)
    return list(_kahn(before, after, keys))


def _forward_keys(graph: GradGraph, from_root: list[int], after: list[list[int]]) -> list[float]:
    """Sequence numbers; where there is none, just less than the first consumer's."""
    keys = [0.0] * len(graph)
    for index in from_root:
        node = graph.nodes[index]
        earliest = min((keys[c] for c in after[index]), default=0.0)
        known = node.sequence is not None and any(node.next)
        keys[index] = float(node.sequence or 0) if known else earliest - 0.5
    return keys


def _kahn(before: list[list[int]], after: list[list[int]], keys: list[float]) -> Iterator[int]:
    """A topological order that takes the smallest key first, and cuts cycles where it must."""
    waiting = [len(b) for b in before]
    ready = [(keys[n], n) for n, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    done = [False] * len(waiting)
    stuck = iter(range(len(waiting)))
    while True:
        if not ready:
            rest = next((n for n in stuck if not done[n]), None)
            if rest is None:
                return
            ready.append((keys[rest], rest))
        _, node = heapq.heappop(ready)
        if done[node]:
            continue
        done[node] = True
        yield node
        for other in after[node]:
            waiting[other] -= 1
            if waiting[other] == 0 and not done[other]:
                heapq.heappush(ready, (keys[other], other))


def dominators(graph: GradGraph) -> list[int | None]:
    """For each node the nearest one that every way from the root to it passes through.

    None for the root and for whatever the root does not reach. One pass in topological order is
    enough where there is no cycle (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance
    Algorithm", 2001); an edge against that order is left out.
    """
    before, after = consumers(graph), producers(graph)
    order = list(_kahn(before, after, [float(n) for n in range(len(graph))]))
    place = {node: i for i, node in enumerate(order)}
    parent: list[int | None] = [None] * len(graph)
    depth = [-1] * len(graph)
    if graph.nodes:
        depth[graph.root] = 0
    for node in order:
        ways = [c for c in before[node] if depth[c] >= 0 and place[c] < place[node]]
        if node == graph.root or not ways:
            continue
        common = ways[0]
        for other in ways[1:]:
            common = _meet(common, other, parent, depth)
        parent[node], depth[node] = common, depth[common] + 1
    return parent


def _meet(one: int, other: int, parent: list[int | None], depth: list[int]) -> int:
    while one != other:
        if depth[one] >= depth[other]:
            one = _up(one, parent)
        else:
            other = _up(other, parent)
    return one


def _up(node: int, parent: list[int | None]) -> int:
    above = parent[node]
    if above is None:  # pragma: no cover - the root has depth 0 and is never climbed past
        raise AssertionError(node)
    return above


def heights(graph: GradGraph) -> list[int]:
    """For each node the length of the longest way from it to a leaf."""
    return _longest(producers(graph), consumers(graph))


def depths(graph: GradGraph) -> list[int]:
    """For each node the length of the longest way from the root to it."""
    return _longest(consumers(graph), producers(graph))


def _longest(before: list[list[int]], after: list[list[int]]) -> list[int]:
    result = [0] * len(before)
    for node in _kahn(before, after, [float(n) for n in range(len(before))]):
        result[node] = 1 + max((result[other] for other in before[node]), default=-1)
    return result
