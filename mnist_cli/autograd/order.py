"""The orders of a graph's nodes: the engine's, and the forward pass's.

Both exist for any graph: a cycle is cut, and nodes that the root does not reach are kept. Imports
no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnist_cli.autograd.graph import GradGraph, ModuleCall, Node
from mnist_cli.autograd.ready_queue import ReadyQueue

LAST_SEQUENCE = 2**64 - 1
"""The sequence number of every AccumulateGrad: the engine runs it as soon as it is ready."""


def dependencies(graph: GradGraph) -> list[int]:
    """How many gradients each node waits for: one for each edge that leads to it."""
    counts = [0] * len(graph.nodes)
    for _, _, edge in graph.edges():
        counts[edge.node] += 1
    return counts


def engine_order(graph: GradGraph) -> list[int]:
    """Ids in the order in which the engine calls the nodes: every edge leads to a later one.

    Of the nodes that are ready, the one made last in the forward pass comes first.
    """
    waiting = dependencies(graph)
    queue = ReadyQueue(
        [LAST_SEQUENCE if node.sequence is None else node.sequence for node in graph.nodes]
    )
    for number, count in enumerate(waiting):
        if count == 0:
            queue.push(number)
    order: dict[int, None] = {}
    for start in range(len(graph.nodes)):
        if not queue and start not in order:  # a cycle
            queue.push(start)
        while queue:
            number = queue.pop()
            order[number] = None
            for edge in graph.nodes[number].next:
                if edge is None or edge.node in order:
                    continue
                waiting[edge.node] -= 1
                if waiting[edge.node] == 0:
                    queue.push(edge.node)
    return list(order)


def operations(graph: GradGraph) -> list[Node]:
    """All nodes but the leaves, in the order in which the forward pass made them."""
    nodes = [graph.nodes[number] for number in reversed(engine_order(graph))]
    return [node for node in nodes if node.parameter is None]


def backward_order(graph: GradGraph) -> list[Node]:
    """The nodes in the order of the backward pass, the leaves last."""
    leaves = [node for node in graph.nodes if node.parameter is not None]
    return [*reversed(operations(graph)), *leaves]


def forward_order(graph: GradGraph) -> list[int]:
    """Ids in the order of the forward pass, each leaf just before its first use."""
    return list(dict.fromkeys(_with_leaves(graph)))


def _with_leaves(graph: GradGraph) -> Iterator[int]:
    backward = engine_order(graph)
    for number in reversed(backward):
        node = graph.nodes[number]
        ends = (edge.node for edge in node.next if edge is not None)
        if node.next:
            yield from (end for end in ends if not graph.nodes[end].next)
            yield number
    yield from backward


def calls_by_end(calls: Sequence[ModuleCall]) -> Iterator[ModuleCall]:
    """Calls of modules in the order in which they end: those inside a call come before it."""
    running: list[ModuleCall] = []
    for call in calls:
        while running and running[-1].depth >= call.depth:
            yield running.pop()
        running.append(call)
    yield from reversed(running)
