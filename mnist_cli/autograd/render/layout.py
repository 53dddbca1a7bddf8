"""Where everything stands in the picture of a gradient graph: one layout for SVG and HTML.

Forward runs from top to bottom, or from left to right. Each module call is laid out by itself,
as layers, with a port on its border for each edge that crosses it, and then stands as one box in
the layout of what encloses it. Links bend only between two layers and run straight past the
boxes of a layer, so no link ever crosses a box. Deterministic: the same graph, the same picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import (
    calls,
    cards,
    labels,
    layering,
    references,
    stacking,
    topology,
)
from mnist_cli.autograd.render.picture import Box, Direction, Frame, Layout, Point, Wire

#: A box by number, or a call, or an edge's port where it enters or leaves an area.
Item = int | tuple[Literal["call", "in", "out"], int]

_PAD = 16.0
_TITLE = 32.0


def layout(graph: GradGraph, *, direction: Direction = "down", saved: bool = True) -> Layout:
    """Place a graph's nodes, module calls and edges.

    Args:
        graph: the graph.
        direction: "down" or "right": which way forward goes.
        saved: leave room for the saved tensors on the cards.
    """
    return _Builder(graph, direction, saved=saved).build()


@dataclass(frozen=True)
class _Edge:
    """An edge to draw between two boxes."""

    source: int
    target: int
    position: int
    weight: float


@dataclass
class _Area:
    """A call, or the whole picture, laid out by itself: across and along are its own."""

    across: float = 0.0
    along: float = 0.0
    place: dict[Item, Point] = field(default_factory=dict)
    pieces: dict[int, list[Point]] = field(default_factory=dict)
    ins: dict[int, float] = field(default_factory=dict)
    outs: dict[int, float] = field(default_factory=dict)


class _Builder:
    def __init__(self, graph: GradGraph, direction: Direction, *, saved: bool) -> None:
        self.graph, self.direction = graph, direction
        self.grouping = calls.grouping(graph)
        self.ancestors = {
            call: self.grouping.ancestors(call) for call in [None, *range(len(self.grouping.calls))]
        }
        self.call_of: list[int | None] = list(self.grouping.call_of)
        self.node_of = list(range(len(graph)))
        self.cards = self._cards(saved=saved)
        self.edges = self._edges()
        self._make_room()
        self.areas: dict[int | None, _Area] = {}
        self.beyond: dict[tuple[int | None, int], float] = {}
        self.fresh: set[int | None] = set()

    def _cards(self, *, saved: bool) -> list[cards.Card]:
        parameters = labels.parameters_by_node(self.graph)
        result = []
        for node, call in zip(self.graph.nodes, self.call_of, strict=True):
            path = "" if call is None else self.grouping.calls[call].path
            record = parameters.get(node.id)
            norm = labels.arriving_norm(node, record)
            if labels.is_leaf(node):
                result.append(cards.parameter(node, record, norm, within=path))
            else:
                caption = "" if node.module in (path, node.name) else node.module
                result.append(cards.operation(node, norm, caption=caption, saved=saved))
        return result

    def _edges(self) -> list[_Edge]:
        """The edges, with a reference of its own wherever a value comes from too far away."""
        far = references.far(self.graph, self.grouping)
        drawn: dict[tuple[int, int], int] = {}
        edges = []
        for user, position, edge in self.graph.edges():
            source, key = edge.node, (user.id, edge.node)
            if (user.id, position) in far:
                if key not in drawn:
                    drawn[key] = len(self.node_of)
                    self.node_of.append(source)
                    self.call_of.append(self.call_of[user.id])
                    self.cards.append(cards.reference(self.graph.nodes[source]))
                source = drawn[key]
            weight = 1.0 if self._minor(source) else 2.0
            edges.append(_Edge(source, user.id, position, weight))
        return self._with_spine(edges)

    def _make_room(self) -> None:
        """Widen a card, across, that more links meet than its side has room for."""
        for ends in ([e.source for e in self.edges], [e.target for e in self.edges]):
            for box, links in Counter(ends).items():
                need = (links - 1) * stacking.LANE + 2 * stacking.ATTACH
                card = self.cards[box]
                if self.direction == "down" and card.width < need:
                    self.cards[box] = replace(card, width=need)
                elif self.direction == "right" and card.height < need:
                    self.cards[box] = replace(card, height=need)

    def _with_spine(self, edges: list[_Edge]) -> list[_Edge]:
        """Give the most weight to the longest ways through the graph: the eye follows those.

        Of a node's inputs the one with the longest way up can be part of one, and of the edges
        that begin at one node the one with the longest way down; so no two ways compete.
        """
        up, down = topology.heights(self.graph), topology.depths(self.graph)
        inputs: dict[int, int] = {}
        for i, edge in enumerate(edges):
            best = inputs.get(edge.target)
            if not self._minor(edge.source) and (
                best is None or up[edge.source] > up[edges[best].source]
            ):
                inputs[edge.target] = i
        outputs: dict[int, int] = {}
        for target, i in inputs.items():
            best = outputs.get(edges[i].source)
            if best is None or down[target] > down[edges[best].target]:
                outputs[edges[i].source] = i
        for i in outputs.values():
            edges[i] = replace(edges[i], weight=stacking.SPINE)
        return edges

    def build(self) -> Layout:
        """Lay out twice: only then do the ports know what lies beyond their border."""
        routes = [self._route(edge) for edge in self.edges]
        result = self._build(routes)
        if all(len(area.outs) < 2 for area in self.areas.values()):
            return result
        across = 0 if self.direction == "down" else 1
        for number, wire in enumerate(result.wires):
            self._look_beyond(number, wire, across)
        return self._build(routes)

    def _look_beyond(self, number: int, wire: Wire, across: int) -> None:
        """Note for each border that a wire leaves by where, across, it goes beyond the last."""
        leaving = [
            (frame, i)
            for frame, i in wire.borders
            if self._inside(frame, self.edges[number].source)
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
        for box, call in enumerate(self.call_of):
            members.setdefault(call, []).append(box)
        order = list(reversed(range(len(self.grouping.calls))))
        for call in order:
            parent = self.grouping.calls[call].parent
            members.setdefault(parent, []).append(("call", call))
        for area in [*order, None]:
            if self._stale(area, members.get(area, [])):
                self.areas[area] = self._lay(area, members.get(area, []), content.get(area, []))
                self.fresh.add(area)
        self.fresh.clear()
        return self._assemble(routes)

    def _stale(self, area: int | None, members: list[Item]) -> bool:
        """Whether an area must be laid out: the first time, and where something in it changed."""
        if area not in self.areas or len(self.areas[area].outs) > 1:
            return True
        return any(isinstance(item, tuple) and item[1] in self.fresh for item in members)

    def _route(self, edge: _Edge) -> list[int | None]:
        """The areas that an edge passes, from the innermost of its source to that of its target."""
        up = self.ancestors[self.call_of[edge.source]]
        down = self.ancestors[self.call_of[edge.target]]
        common = next(area for area in up if area in down)
        return [*up[: up.index(common) + 1], *reversed(down[: down.index(common)])]

    def _child(self, area: int | None, box: int) -> Item:
        """What stands for a box in an area: itself, or the call around it."""
        chain = self.ancestors[self.call_of[box]]
        depth = chain.index(area)
        inner = chain[depth - 1] if depth else None
        return box if inner is None else ("call", inner)

    def _inside(self, area: int | None, box: int) -> bool:
        return area in self.ancestors[self.call_of[box]]

    def _size(self, item: Item) -> Point:
        """Across and along."""
        if isinstance(item, int):
            card = self.cards[item]
            across, along = card.width, card.height
            return (across, along) if self.direction == "down" else (along, across)
        if isinstance(item, tuple) and item[0] == "call":
            return self.areas[item[1]].across, self.areas[item[1]].along
        return 0.0, 0.0

    def _lay(self, area: int | None, members: list[Item], edges: list[int]) -> _Area:
        """Lay out one area: its members are laid out already where they are calls."""
        ends = [self._ends(area, number) for number in edges]
        entries = [a for a, _, _, _ in ends if isinstance(a, tuple) and a[0] == "in"]
        exits = [b for _, b, _, _ in ends if isinstance(b, tuple) and b[0] == "out"]
        exits.sort(key=lambda port: (self.beyond.get((area, port[1]), 0.0), port[1]))
        items = [*members, *entries, *exits]
        index = {item: i for i, item in enumerate(items)}
        links = [
            layering.Link(index[a], index[b], start, end, self.edges[number].weight)
            for number, (a, b, start, end) in zip(edges, ends, strict=True)
        ]
        sizes = [self._size(item) for item in items]
        order = sorted(range(len(links)), key=lambda i: self._link_order(links[i], edges[i]))
        layers = layering.arrange(
            len(items),
            [links[i] for i in order],
            first=[index[e] for e in entries],
            last=[index[e] for e in exits],
            settled=bool(self.beyond),
            widths=[across for across, _ in sizes],
        )
        plan = stacking.Stack(layers, sizes, [isinstance(i, int) and self._minor(i) for i in items])
        title = self.direction == "down"
        framed = area is not None
        plan.place(
            before=(_TITLE if title else _PAD) if framed else 0.0, after=_PAD if framed else 0.0
        )
        fixed = {i for i, item in enumerate(items) if not isinstance(item, int)}
        attach = plan.attachments([links[i] for i in order], fixed)
        low = _PAD if framed and title else _TITLE if framed else 0.0
        high = _PAD if framed else 0.0
        minimum = self._title_width(area) if area is not None and title else 0.0
        shift, width = plan.extent(low, high, minimum)
        result = _Area(across=width, along=plan.along)
        for i, item in enumerate(items):
            result.place[item] = (plan.across[i] + shift, plan.start[i])
        for link, i in enumerate(order):
            number = edges[i]
            piece = plan.piece(links[i], layers.chains[link], *attach[link])
            result.pieces[number] = [(a + shift, b) for a, b in piece]
            if ends[i][0] == ("in", number):
                result.ins[number] = result.pieces[number][0][0]
            if ends[i][1] == ("out", number):
                result.outs[number] = result.pieces[number][-1][0]
        return result

    def _title_width(self, call: int) -> float:
        return cards.text_width(self.grouping.calls[call].short_title, 11, bold=True) + 2 * _PAD

    def _minor(self, box: int) -> bool:
        return self.cards[box].kind != "operation"

    def _link_order(self, link: layering.Link, number: int) -> tuple[int, float, int]:
        return link.target, link.end, self.edges[number].position

    def _ends(self, area: int | None, number: int) -> tuple[Item, Item, float, float]:
        """What an edge joins in an area, and where on the calls' borders it leaves and enters."""
        edge = self.edges[number]
        source: Item = ("in", number)
        target: Item = ("out", number)
        start = end = 0.0
        if self._inside(area, edge.source):
            source = self._child(area, edge.source)
            if isinstance(source, tuple):
                inner = self.areas[source[1]]
                start = inner.outs[number] - inner.across / 2
        if self._inside(area, edge.target):
            target = self._child(area, edge.target)
            if isinstance(target, tuple):
                inner = self.areas[target[1]]
                end = inner.ins[number] - inner.across / 2
        return source, target, start, end

    def _assemble(self, routes: list[list[int | None]]) -> Layout:
        self.population = Counter(a for c in self.grouping.call_of for a in self.ancestors[c])
        origins: dict[int | None, Point] = {None: (0.0, 0.0)}
        for call, record in enumerate(self.grouping.calls):
            centre, along = self.areas[record.parent].place["call", call]
            across0, along0 = origins[record.parent]
            origins[call] = (across0 + centre - self.areas[call].across / 2, along0 + along)
        whole = self.areas[None]
        width, height = self._turn((whole.across, whole.along))
        return Layout(
            width=width,
            height=height,
            direction=self.direction,
            boxes=tuple(self._box(i, origins) for i in range(len(self.node_of))),
            frames=tuple(self._frame(i, origins) for i in range(len(self.grouping.calls))),
            wires=tuple(self._wire(n, route, origins) for n, route in enumerate(routes)),
        )

    def _turn(self, point: Point) -> Point:
        across, along = point
        x, y = (across, along) if self.direction == "down" else (along, across)
        return round(x, 1), round(y, 1)

    def _box(self, box: int, origins: dict[int | None, Point]) -> Box:
        call = self.call_of[box]
        centre, along = self.areas[call].place[box]
        across0, along0 = origins[call]
        across, _ = self._size(box)
        x, y = self._turn((across0 + centre - across / 2, along0 + along))
        return Box(self.node_of[box], self.cards[box], call, x, y)

    def _frame(self, call: int, origins: dict[int | None, Point]) -> Frame:
        area, title = self.areas[call], self._title_width(call)
        x, y = self._turn(origins[call])
        width, height = self._turn((area.across, area.along))
        blocked = [a for a in area.ins.values() if a < title]
        free_at_end = all(a < area.across - title for a in area.ins.values())
        return Frame(
            call=self.grouping.calls[call],
            x=x,
            y=y,
            width=width,
            height=height,
            nodes=self.population[call],
            title_end=self.direction == "down" and bool(blocked) and free_at_end,
        )

    def _wire(self, number: int, route: list[int | None], origins: dict[int | None, Point]) -> Wire:
        edge = self.edges[number]
        points: list[Point] = []
        borders: list[tuple[int, int]] = []
        for area in route:
            across0, along0 = origins[area]
            if area is not None and not self._inside(area, edge.source):
                borders.append((area, len(points)))
            points += [
                self._turn((across0 + a, along0 + b)) for a, b in self.areas[area].pieces[number]
            ]
            if area is not None and not self._inside(area, edge.target):
                borders.append((area, len(points) - 1))
        return Wire(edge.source, edge.target, edge.position, tuple(points), tuple(borders))
