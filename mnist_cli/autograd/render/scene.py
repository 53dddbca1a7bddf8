"""The content of a picture before it is laid out: cards, edges and calls.

A value from too far away is not drawn as a long edge: a small card next to its user refers to it.
Boxes 0 to n - 1 are the n nodes, those after them references.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from mnist_cli.autograd.graph import joint_norm
from mnist_cli.autograd.render import calls, cards, labels, references, stacking, topology
from mnist_cli.autograd.render.condensing import Drawn, Group
from mnist_cli.autograd.render.picture import Direction


@dataclass(frozen=True)
class Edge:
    """An edge to draw between two boxes."""

    source: int
    target: int
    position: int
    weight: float


class Scene:
    """A graph as boxes in areas, with edges between them.

    An area is a module call, by its number, or None for the whole picture.

    Attributes:
        call_of: for each box the innermost call around it.
        node_of: for each box the node that it shows or refers to.
        ancestors: for each area itself and those around it, the whole picture last.
    """

    def __init__(self, drawn: Drawn, direction: Direction) -> None:
        self.drawn, self.direction = drawn, direction
        self.graph = graph = drawn.graph
        self.grouping = calls.grouping(graph)
        self.ancestors = {
            call: self.grouping.ancestors(call) for call in [None, *range(len(self.grouping.calls))]
        }
        self.call_of: list[int | None] = list(self.grouping.call_of)
        self.node_of = list(range(len(graph)))
        self.cards = self._cards()
        self.edges = self._edges()
        self._make_room()

    def minor(self, box: int) -> bool:
        """Whether a box is a parameter or a reference, which make room for operations."""
        return self.cards[box].kind in ("parameter", "reference")

    def inside(self, area: int | None, box: int) -> bool:
        """Whether a box is in an area, at any depth."""
        return area in self.ancestors[self.call_of[box]]

    def route(self, edge: Edge) -> list[int | None]:
        """The areas that an edge passes, from its source's innermost area to its target's."""
        up = self.ancestors[self.call_of[edge.source]]
        down = self.ancestors[self.call_of[edge.target]]
        common = next(area for area in up if area in down)
        return [*up[: up.index(common) + 1], *reversed(down[: down.index(common)])]

    def _cards(self) -> list[cards.Card]:
        result = []
        for i, call in enumerate(self.call_of):
            node = self.drawn.numbered(i)
            path = "" if call is None else self.grouping.calls[call].path
            norm = joint_norm(node.grad_in)
            if isinstance(node, Group):
                result.append(cards.group(node, norm))
            elif labels.is_leaf(node):
                result.append(cards.parameter(node, norm, within=path))
            else:
                caption = "" if node.module in (path, node.name) else node.module
                result.append(cards.operation(node, norm, caption=caption))
        return result

    def _edges(self) -> list[Edge]:
        """The edges, with a reference for each value that comes from too far away."""
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
                    self.cards.append(cards.reference(self.drawn.numbered(source)))
                source = drawn[key]
            weight = 1.0 if self.minor(source) else 2.0
            edges.append(Edge(source, user.id, position, weight))
        return self._with_spine(edges)

    def _make_room(self) -> None:
        """Widen each card with too little room for its links on one side."""
        for ends in ([e.source for e in self.edges], [e.target for e in self.edges]):
            for box, links in Counter(ends).items():
                need = (links - 1) * stacking.LANE + 2 * stacking.ATTACH
                card = self.cards[box]
                if self.direction == "down" and card.width < need:
                    self.cards[box] = replace(card, width=need)
                elif self.direction == "right" and card.height < need:
                    self.cards[box] = replace(card, height=need)

    def _with_spine(self, edges: list[Edge]) -> list[Edge]:
        """Give the most weight to the longest paths through the graph: the eye follows those.

        At each node, such a path takes the input with the longest path up, and the outgoing edge
        with the longest path down, so that no two paths compete.
        """
        up, down = topology.heights(self.graph), topology.depths(self.graph)
        inputs: dict[int, int] = {}
        for i, edge in enumerate(edges):
            best = inputs.get(edge.target)
            if not self.minor(edge.source) and (
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
