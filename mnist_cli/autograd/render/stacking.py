"""The coordinates within one area of a picture: its layers stacked, its links run between them.

Knows items by number and size, "across" and "along", not nodes, frames or directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from mnist_cli.autograd.render import coordinates, layering
from mnist_cli.autograd.render.picture import Point

_GAP = 28.0
_SIDE = 22.0
LANE = 14.0
_KINK = 5.0
#: The weight of a link that runs straight whatever is beside it.
SPINE = 400.0
#: From a card's corner to the first link that may meet it, and from link to link.
ATTACH = 12.0


class Stack:
    """Coordinates within one area, before they are shifted into its frame."""

    def __init__(
        self, layers: layering.Layers, sizes: Sequence[Point], minor: Sequence[bool]
    ) -> None:
        self.layers, self.sizes, self.minor = layers, sizes, minor
        self.across = coordinates.across(layers, [w for w, _ in sizes], self._gap)
        self._straighten()
        self.row_of = {v: r for r, row in enumerate(layers.rows) for v in row}
        self.rows: list[Point] = []
        self.start: dict[int, float] = {}
        self.along = 0.0

    def _straighten(self) -> None:
        """Remove kinks too small to be seen as bends: gaps are wide enough."""
        for row in self.layers.rows:
            for vertex in row:
                for s in self.layers.above.get(vertex, ()):
                    aside = self.across[s.source] + s.start - s.end - self.across[vertex]
                    if s.weight >= SPINE and abs(aside) < _KINK:
                        self.across[vertex] += aside
        for chain in self.layers.chains:
            for one, other in pairwise(chain):
                if abs(self.across[one] - self.across[other]) < _KINK:
                    self.across[other] = self.across[one]

    def _bare(self, vertex: int) -> bool:
        return vertex >= len(self.sizes) or self.sizes[vertex][0] == 0

    def _gap(self, one: int, other: int) -> float:
        bare = self._bare(one) + self._bare(other)
        return (_SIDE, LANE + 4, LANE)[bare]

    def place(self, before: float, after: float) -> None:
        """Stack the rows; ``before`` and ``after`` are the distances of the frame's border."""
        rows = self.layers.rows
        ports_first = bool(rows) and before > 0 and all(self._port(v) for v in rows[0])
        ports_last = bool(rows) and after > 0 and all(self._port(v) for v in rows[-1])
        cursor = 0.0 if ports_first or not before else before
        for r, row in enumerate(rows):
            height = max((self.sizes[v][1] for v in row if v < len(self.sizes)), default=0.0)
            self.rows.append((cursor, cursor + height))
            for vertex in row:
                if vertex < len(self.sizes):
                    slack = height - self.sizes[vertex][1]
                    self.start[vertex] = cursor + (slack if self.minor[vertex] else slack / 2)
            cursor += height
            if r + 1 < len(rows):
                gap = self._row_gap(r)
                if r == 0 and ports_first:
                    gap = max(before, gap - 6)
                if r + 2 == len(rows) and ports_last:
                    gap = max(after, gap - 12)
                cursor += gap
        self.along = cursor + (0.0 if ports_last else after)

    def _port(self, vertex: int) -> bool:
        return vertex < len(self.sizes) and self.sizes[vertex] == (0.0, 0.0)

    def _row_gap(self, row: int) -> float:
        """More room for links that run far to the side, so that they are not flat."""
        farthest = 0.0
        for vertex in self.layers.rows[row]:
            for s in self.layers.below.get(vertex, ()):
                aside = self.across[s.target] + s.end - self.across[vertex] - s.start
                farthest = max(farthest, abs(aside) - 80)
        return _GAP + min(40.0, farthest * 0.08)

    def attachments(
        self, links: Sequence[layering.Link], fixed: set[int]
    ) -> list[tuple[float, float]]:
        """For each link the places, across, at which it leaves its source and enters its target."""
        starts = [self.across[link.source] + link.start for link in links]
        ends = [self.across[link.target] + link.end for link in links]
        chains = self.layers.chains
        # Each side looks where the other has settled, so that a link between two boxes that
        # overlap runs straight; the second look at the targets costs little and undoes zigzags.
        for side in ("target", "source", "target"):
            arriving = side == "target"
            mine, theirs = (ends, starts) if arriving else (starts, ends)
            vertices = [link.target if arriving else link.source for link in links]
            near = [
                self.across[chain[-1 if arriving else 0]] if chain else other
                for chain, other in zip(chains, theirs, strict=True)
            ]
            for i, spot in self._fanned(vertices, near, fixed):
                mine[i] = spot
        return list(zip(starts, ends, strict=True))

    def _fanned(
        self, vertices: Sequence[int], near: Sequence[float], fixed: set[int]
    ) -> Iterator[tuple[int, float]]:
        """Where links meet their boxes: as near as possible to their origin, a lane apart."""
        meeting: dict[int, list[int]] = {}
        for i, vertex in enumerate(vertices):
            if vertex not in fixed:
                meeting.setdefault(vertex, []).append(i)
        for vertex, group in meeting.items():
            group.sort(key=lambda i: (near[i], i))
            half = max(self.sizes[vertex][0] / 2 - ATTACH, 0.0)
            centre = self.across[vertex]
            wanted = [near[i] for i in group]
            yield from zip(
                group,
                coordinates.within(wanted, centre - half, centre + half, LANE),
                strict=True,
            )

    def extent(self, low: float, high: float, minimum: float) -> Point:
        """How far to shift everything across, and the width that results."""
        edges = [
            (x - w / 2, x + w / 2)
            for v, x in self.across.items()
            for w in [self.sizes[v][0] if v < len(self.sizes) else 0.0]
        ]
        left = min((a for a, _ in edges), default=0.0)
        right = max((b for _, b in edges), default=0.0)
        width = max(right - left + low + high, minimum)
        spare = (width - (right - left + low + high)) / 2
        return low + spare - left, width

    def piece(
        self, link: layering.Link, chain: Sequence[int], start: float, end: float
    ) -> list[Point]:
        """The points of one link, along the rows that it leaves, passes and enters."""
        source_row = self.rows[self.row_of[link.source]]
        target_row = self.rows[self.row_of[link.target]]
        points = [
            (start, self.start[link.source] + self.sizes[link.source][1]),
            (start, source_row[1]),
        ]
        for vertex in chain:
            top, bottom = self.rows[self.row_of[vertex]]
            points += [(self.across[vertex], top), (self.across[vertex], bottom)]
        points += [(end, target_row[0]), (end, self.start[link.target])]
        return points
