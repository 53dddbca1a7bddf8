"""Layers and their order: the combinatorial half of a layered (Sugiyama) drawing.

Knows numbered items and links between them, not nodes, sizes or coordinates. Layers are longest
paths from the sinks, so that a parameter is next to its user. A link has a placeholder on each
layer that it passes. Barycentre sweeps then keep the order with the fewest crossings (Sugiyama,
Tagawa and Toda, 1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise

_SWEEPS = 12


@dataclass(frozen=True)
class Link:
    """A connection from an item down to a later one.

    ``start`` and ``end`` are the distances, in units of length, from the items' centres to the
    points where it leaves and enters. ``weight`` is the importance of a straight line.
    """

    source: int
    target: int
    start: float = 0.0
    end: float = 0.0
    weight: float = 1.0


@dataclass
class Layers:
    """Items and placeholders on layers, in order.

    ``rows[0]`` is the first layer. Vertices from ``items`` on are placeholders. ``chains[l]`` holds
    the placeholders of link ``l``; ``segments`` are the parts between two neighbouring layers.
    """

    items: int
    rows: list[list[int]]
    chains: list[list[int]]
    segments: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.above: dict[int, list[Link]] = {}
        self.below: dict[int, list[Link]] = {}
        for segment in self.segments:
            self.above.setdefault(segment.target, []).append(segment)
            self.below.setdefault(segment.source, []).append(segment)


def arrange(
    items: int,
    links: Sequence[Link],
    *,
    first: Sequence[int] = (),
    last: Sequence[int] = (),
    settled: bool = False,
    widths: Sequence[float],
) -> Layers:
    """Put items on layers and order each layer with few crossings.

    Args:
        items: their number.
        links: an acyclic set, in the order of each item's inputs.
        first: the items of the first layer, if it is given.
        last: the items of the last layer, if it is given.
        settled: keep ``last`` in the order given.
        widths: of the items, to order links that meet one item at different places.
    """
    ranks = _ranks(items, links, first, last)
    layers = _with_placeholders(items, links, ranks)
    _initial_order(layers, ranks)
    frozen = settled and bool(last)
    if frozen:
        layers.rows[-1] = list(last)
    _reduce_crossings(layers, widths, last_frozen=frozen)
    return layers


def _ranks(
    items: int, links: Sequence[Link], first: Sequence[int], last: Sequence[int]
) -> list[int]:
    """Each item's layer, counted from the first."""
    order = TopologicalSorter[int](dict.fromkeys(range(items), ()))
    for link in links:
        order.add(link.source, link.target)
    for end in last[:1]:
        for item in range(items):
            if item not in last:
                order.add(item, end)
    depth = [0] * items
    for layer, members in enumerate(_generations(order)):
        for member in members:
            depth[member] = layer
    for end in last:
        depth[end] = 0
    fixed = set(first)
    deepest = max((depth[i] for i in range(items) if i not in fixed), default=-1)
    for start in first:
        depth[start] = deepest + 1
    bottom = max(depth, default=0)
    return [bottom - d for d in depth]


def _generations(order: TopologicalSorter[int]) -> Iterator[tuple[int, ...]]:
    """Items whose predecessors are done, all at once, again and again."""
    order.prepare()
    while order.is_active():
        ready = order.get_ready()
        yield ready
        order.done(*ready)


def _with_placeholders(items: int, links: Sequence[Link], ranks: list[int]) -> Layers:
    chains: list[list[int]] = []
    segments: list[Link] = []
    vertices = items
    for link in links:
        count = ranks[link.target] - ranks[link.source] - 1
        chain = list(range(vertices, vertices + count))
        vertices += count
        chains.append(chain)
        stops = [link.source, *chain, link.target]
        for i, (source, target) in enumerate(pairwise(stops)):
            segments.append(
                Link(
                    source,
                    target,
                    link.start if i == 0 else 0.0,
                    link.end if i == count else 0.0,
                    link.weight * (4.0 if 0 < i < count else 1.0),
                )
            )
        ranks.extend(range(ranks[link.source] + 1, ranks[link.target]))
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    return Layers(items, rows, chains, segments)


def _initial_order(layers: Layers, ranks: list[int]) -> None:
    """Depth first from the sinks upwards, inputs in order: few crossings to begin with."""
    seen = [False] * len(ranks)
    for start in sorted(range(len(ranks)), key=lambda v: (-ranks[v], v)):
        stack = [start]
        while stack:
            vertex = stack.pop()
            if seen[vertex]:
                continue
            seen[vertex] = True
            layers.rows[ranks[vertex]].append(vertex)
            stack.extend(s.source for s in reversed(layers.above.get(vertex, ())))


def _reduce_crossings(layers: Layers, widths: Sequence[float], *, last_frozen: bool) -> None:
    def shift(vertex: int, offset: float) -> float:
        return offset / (widths[vertex] + 1.0) if vertex < layers.items else 0.0

    place: dict[int, int] = {}
    for row in layers.rows:
        place.update((v, i) for i, v in enumerate(row))

    def crossings() -> int:
        return sum(_crossings_above(row) for row in layers.rows[1:])

    def _crossings_above(row: list[int]) -> int:
        ends = sorted(
            (place[s.source] + shift(s.source, s.start), place[v] + shift(v, s.end))
            for v in row
            for s in layers.above.get(v, ())
        )
        return _inversions([end for _, end in ends])

    def sort(row: list[int], *, down: bool) -> None:
        def key(vertex: int) -> float:
            near = layers.above.get(vertex, ()) if down else layers.below.get(vertex, ())
            if not near:
                return float(place[vertex])
            if down:
                spots = [place[s.source] + shift(s.source, s.start) for s in near]
            else:
                spots = [place[s.target] + shift(s.target, s.end) for s in near]
            return sum(spots) / len(spots)

        row.sort(key=key)
        place.update((v, i) for i, v in enumerate(row))

    fewest, best = crossings(), [list(row) for row in layers.rows]
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        rows = range(1, len(layers.rows)) if down else range(len(layers.rows) - 2, -1, -1)
        for i in rows:
            if not (last_frozen and i == len(layers.rows) - 1):
                sort(layers.rows[i], down=down)
        count = crossings()
        if count < fewest:
            fewest, best = count, [list(row) for row in layers.rows]
    layers.rows[:] = best


def _inversions(values: Sequence[float]) -> int:
    """Number of pairs in the wrong order; equal values do not count."""
    seen: list[float] = []
    count = 0
    for i, value in enumerate(values):
        count += i - bisect_right(seen, value)
        insort(seen, value)
    return count
