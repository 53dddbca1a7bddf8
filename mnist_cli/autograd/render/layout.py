"""The layout of the picture of a gradient graph, the same for SVG and HTML.

The forward pass runs from top to bottom, or from left to right. Each module call is laid out by
itself, as layers, with a port on its border for each edge that crosses it. In the layout around
it, it is one box. Links bend only between two layers and run straight past the boxes of a layer,
so no link crosses a box. The same graph gives the same picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import cards, layering, stacking
from mnist_cli.autograd.render.condensing import MOST, condense
from mnist_cli.autograd.render.picture import Box, Direction, Frame, Layout, Point, Wire
from mnist_cli.autograd.render.scene import Scene

Item = int | tuple[Literal["call", "in", "out"], int]
"""A box by number, or a call, or the port at which an edge enters or leaves an area."""

PAD = 16.0
TITLE = 32.0


def layout(graph: GradGraph, *, direction: Direction = "down", most: int = MOST) -> Layout:
    """Place a graph's nodes, module calls and edges.

    Of a graph that is too large to draw, whole calls and runs of nodes become one box each.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
        most: about the largest number of boxes.
    """
    return _Builder(Scene(condense(graph, most), direction)).build()


@dataclass
class _Area:
    """A call, or the whole picture, laid out in its own coordinates: across and along."""

    across: float = 0.0
    along: float = 0.0
    place: dict[Item, Point] = field(default_factory=dict)
    pieces: dict[int, list[Point]] = field(default_factory=dict)
    ins: dict[int, float] = field(default_factory=dict)
    outs: dict[int, float] = field(default_factory=dict)


class _Builder:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.down = scene.direction == "down"
        self.areas: dict[int | None, _Area] = {}
        self.beyond: dict[tuple[int | None, int], float] = {}

    def build(self) -> Layout:
        """Lay out twice: the second pass orders the ports by what is beyond their border."""
        routes = [self.scene.route(edge) for edge in self.scene.edges]
        result = self._build(routes)
        if all(len(area.outs) < 2 for area in self.areas.values()):
            return result
        across = 0 if self.down else 1
        for number, wire in enumerate(result.wires):
            self._look_beyond(number, wire, across)
        return self._build(routes)

    def _look_beyond(self, number: int, wire: Wire, across: int) -> None:
        """For each border that a wire leaves, note its position across beyond the last of them."""
        leaving = [
            (frame, i)
            for frame, i in wire.borders
            if self.scene.inside(frame, self.scene.edges[number].source)
        ]
        for frame, _ in leaving:
            spot = min(leaving[-1][1] + 3, len(wire.points) - 1)
            self.beyond[frame, number] = wire.points[spot][across]

    def _build(self, routes: list[list[int | None]]) -> Layout:
        content: dict[int | None, list[int]] = {}
        for number, route in enumerate(routes):
            for area in route:
                content.setdefault(area, []).append(number)
        members: dict[int | None, list[Item]] = {}
        for box, call in enumerate(self.scene.call_of):
            members.setdefault(call, []).append(box)
        order = list(reversed(range(len(self.scene.grouping.calls))))
        for call in order:
            parent = self.scene.grouping.calls[call].parent
            members.setdefault(parent, []).append(("call", call))
        for area in [*order, None]:
            self.areas[area] = self._lay(area, members.get(area, []), content.get(area, []))
        return self._assemble(routes)

    def _child(self, area: int | None, box: int) -> Item:
        """The item of a box in an area: the box itself, or the call around it."""
        chain = self.scene.ancestors[self.scene.call_of[box]]
        depth = chain.index(area)
        inner = chain[depth - 1] if depth else None
        return box if inner is None else ("call", inner)

    def _size(self, item: Item) -> Point:
        """The size of an item, across and along."""
        if isinstance(item, int):
            card = self.scene.cards[item]
            across, along = card.width, card.height
            return (across, along) if self.down else (along, across)
        if isinstance(item, tuple) and item[0] == "call":
            return self.areas[item[1]].across, self.areas[item[1]].along
        return 0.0, 0.0

    def _lay(self, area: int | None, members: list[Item], edges: list[int]) -> _Area:
        """Lay out one area; calls within it are laid out already."""
        items, links = self._joined(area, members, edges)
        sizes = [self._size(item) for item in items]
        layers = layering.arrange(
            len(items),
            list(links.values()),
            first=_ports(items, "in"),
            last=_ports(items, "out"),
            settled=bool(self.beyond),
            widths=[across for across, _ in sizes],
        )
        minor = [isinstance(item, int) and self.scene.minor(item) for item in items]
        plan = stacking.Stack(layers, sizes, minor)
        shift, width = self._framed(plan, area)
        result = _Area(across=width, along=plan.along)
        for i, item in enumerate(items):
            result.place[item] = (plan.across[i] + shift, plan.start[i])
        fixed = {i for i, item in enumerate(items) if not isinstance(item, int)}
        attach = plan.attachments(list(links.values()), fixed)
        for chain, spots, (number, link) in zip(layers.chains, attach, links.items(), strict=True):
            piece = [(a + shift, b) for a, b in plan.piece(link, chain, *spots)]
            result.pieces[number] = piece
            if ("in", number) in result.place:
                result.ins[number] = piece[0][0]
            if ("out", number) in result.place:
                result.outs[number] = piece[-1][0]
        return result

    def _joined(
        self, area: int | None, members: list[Item], edges: list[int]
    ) -> tuple[list[Item], dict[int, layering.Link]]:
        """The items of an area, ports last, and the links between them by edge, in order."""
        ends = {number: self._ends(area, number) for number in edges}
        entries = [a for a, _, _, _ in ends.values() if isinstance(a, tuple) and a[0] == "in"]
        exits = [b for _, b, _, _ in ends.values() if isinstance(b, tuple) and b[0] == "out"]
        exits.sort(key=lambda port: (self.beyond.get((area, port[1]), 0.0), port[1]))
        items = [*members, *entries, *exits]
        index = {item: i for i, item in enumerate(items)}
        links = {
            number: layering.Link(index[a], index[b], start, end, self.scene.edges[number].weight)
            for number, (a, b, start, end) in ends.items()
        }

        def order(number: int) -> tuple[int, float, int]:
            link = links[number]
            return link.target, link.end, self.scene.edges[number].position

        return items, {n: links[n] for n in sorted(links, key=order)}

    def _framed(self, plan: stacking.Stack, area: int | None) -> Point:
        """Leave room for a frame and its title; how far to shift across, and the width."""
        if area is None:
            plan.place(before=0.0, after=0.0)
            return plan.extent(0.0, 0.0, 0.0)
        plan.place(before=TITLE if self.down else PAD, after=PAD)
        if self.down:
            return plan.extent(PAD, PAD, self._title_width(area))
        return plan.extent(TITLE, PAD, 0.0)

    def _title_width(self, call: int) -> float:
        title = self.scene.grouping.calls[call].short_title
        return cards.text_width(title, 11, bold=True) + 2 * PAD

    def _ends(self, area: int | None, number: int) -> tuple[Item, Item, float, float]:
        """The items that an edge joins in an area, and where it meets the calls' borders."""
        edge = self.scene.edges[number]
        source: Item = ("in", number)
        target: Item = ("out", number)
        start = end = 0.0
        if self.scene.inside(area, edge.source):
            source = self._child(area, edge.source)
            if isinstance(source, tuple):
                inner = self.areas[source[1]]
                start = inner.outs[number] - inner.across / 2
        if self.scene.inside(area, edge.target):
            target = self._child(area, edge.target)
            if isinstance(target, tuple):
                inner = self.areas[target[1]]
                end = inner.ins[number] - inner.across / 2
        return source, target, start, end

    def _assemble(self, routes: list[list[int | None]]) -> Layout:
        self.population = Counter(
            a for c in self.scene.grouping.call_of for a in self.scene.ancestors[c]
        )
        origins: dict[int | None, Point] = {None: (0.0, 0.0)}
        for call, record in enumerate(self.scene.grouping.calls):
            centre, along = self.areas[record.parent].place["call", call]
            across0, along0 = origins[record.parent]
            origins[call] = (across0 + centre - self.areas[call].across / 2, along0 + along)
        whole = self.areas[None]
        width, height = self._turn((whole.across, whole.along))
        return Layout(
            drawn=self.scene.drawn,
            width=width,
            height=height,
            direction=self.scene.direction,
            boxes=tuple(self._box(i, origins) for i in range(len(self.scene.node_of))),
            frames=tuple(self._frame(i, origins) for i in range(len(self.scene.grouping.calls))),
            wires=tuple(self._wire(n, route, origins) for n, route in enumerate(routes)),
        )

    def _turn(self, point: Point) -> Point:
        across, along = point
        x, y = (across, along) if self.down else (along, across)
        return round(x, 1), round(y, 1)

    def _box(self, box: int, origins: dict[int | None, Point]) -> Box:
        call = self.scene.call_of[box]
        centre, along = self.areas[call].place[box]
        across0, along0 = origins[call]
        across, _ = self._size(box)
        x, y = self._turn((across0 + centre - across / 2, along0 + along))
        return Box(self.scene.node_of[box], self.scene.cards[box], call, x, y)

    def _frame(self, call: int, origins: dict[int | None, Point]) -> Frame:
        area, title = self.areas[call], self._title_width(call)
        x, y = self._turn(origins[call])
        width, height = self._turn((area.across, area.along))
        blocked = [a for a in area.ins.values() if a < title]
        free_at_end = all(a < area.across - title for a in area.ins.values())
        return Frame(
            call=self.scene.grouping.calls[call],
            x=x,
            y=y,
            width=width,
            height=height,
            nodes=self.population[call],
            title_end=self.down and bool(blocked) and free_at_end,
        )

    def _wire(self, number: int, route: list[int | None], origins: dict[int | None, Point]) -> Wire:
        edge = self.scene.edges[number]
        points: list[Point] = []
        borders: list[tuple[int, int]] = []
        for area in route:
            across0, along0 = origins[area]
            if area is not None and not self.scene.inside(area, edge.source):
                borders.append((area, len(points)))
            points += [
                self._turn((across0 + a, along0 + b)) for a, b in self.areas[area].pieces[number]
            ]
            if area is not None and not self.scene.inside(area, edge.target):
                borders.append((area, len(points) - 1))
        return Wire(edge.source, edge.target, edge.position, tuple(points), tuple(borders))


def _ports(items: list[Item], which: Literal["in", "out"]) -> list[int]:
    """The positions of the ports of one kind among the items."""
    return [i for i, item in enumerate(items) if isinstance(item, tuple) and item[0] == which]
