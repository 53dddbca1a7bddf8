"""Which edges start at a small reference to their source, not at the source itself."""

from __future__ import annotations

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import calls, labels

# Placeholders grow with the distance an edge spans: beyond this many, the longest edges are drawn
# as references. 20,000 keep a graph of 3,000 nodes to a few seconds.
_LONGEST_TOTAL = 20_000
# A leaf used again further off than this many operations is drawn as a reference.
_NEAR = 6


def far(graph: GradGraph, grouping: calls.Grouping) -> set[tuple[int, int]]:
    """The edges, as (user, position), that are to be drawn from a reference."""
    place = {node: i for i, node in enumerate(grouping.order)}
    operations = [n for n in grouping.order if not labels.is_leaf(graph.nodes[n])]
    step = {node: i for i, node in enumerate(operations)}
    first: dict[int, int] = {}
    for user, _, edge in graph.edges():
        if place[user.id] < place.get(first.get(edge.node, -1), len(place)):
            first[edge.node] = user.id
    far, spans = set(), []
    for user, position, edge in graph.edges():
        if place[edge.node] >= place[user.id]:
            far.add((user.id, position))
        elif labels.is_leaf(graph.nodes[edge.node]):
            start = first[edge.node]
            apart = grouping.call_of[start] != grouping.call_of[user.id]
            if start != user.id and (apart or step[user.id] - step[start] > _NEAR):
                far.add((user.id, position))
        else:
            spans.append((step[user.id] - step[edge.node], user.id, position))
    spans.sort(reverse=True)
    total = sum(span for span, _, _ in spans)
    for span, user_id, position in spans:
        if total <= _LONGEST_TOTAL:
            break
        far.add((user_id, position))
        total -= span
    return far
