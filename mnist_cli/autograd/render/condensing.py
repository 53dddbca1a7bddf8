"""A graph that is too large to draw, made small enough: whole calls and runs of nodes become boxes.

The levels of the module tree are opened from the outside inwards, for as long as there is room. A
group is a run of neighbours in the forward order, so that contracting it makes no cycle.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mnist_cli.autograd.graph import Edge, GradGraph, Node, Stats, joint_norm
from mnist_cli.autograd.render import calls, labels

MOST = 3_000
"""Maximum number of boxes in a picture: laid out in about a second, and 5 MB as a page."""
_CROWD = 300
"""Number of items of an area above which runs of them are drawn; ``most`` if that is less."""
_RUNS = 100
"""Number of runs of such an area; a third of ``most`` if that is less."""

_Area = int | None
_Key = int | tuple[str, _Area, int]


@dataclass(frozen=True)
class Group(Node):
    """Several nodes drawn as one box; ``members`` are their ids in the forward order.

    ``grad_in`` and ``grad_out`` hold the joint norm of all gradients that cross the border.
    """

    members: tuple[int, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class Drawn:
    """The graph that a picture shows; ``members[i]`` are the nodes behind its node ``i``."""

    graph: GradGraph
    members: tuple[tuple[int, ...], ...]

    def title(self, node: int) -> str:
        """How a node of the picture is named: by the id that it has in the whole graph."""
        record = self.graph.nodes[node]
        name = labels.visible(record.name)
        return name if isinstance(record, Group) else f"#{self.members[node][0]} {name}"

    def numbered(self, node: int) -> Node:
        """A node of the picture with the id that it has in the whole graph."""
        record = self.graph.nodes[node]
        original = self.members[node][0]
        return record if original == record.id else replace(record, id=original)

    @property
    def note(self) -> str:
        """What the picture leaves out, in one phrase; empty if every node has its own box."""
        if all(len(members) == 1 for members in self.members):
            return ""
        nodes = labels.counted(sum(map(len, self.members)), "node")
        return f"{nodes} in {len(self.members):,} boxes: modules are folded"


def condense(graph: GradGraph, most: int = MOST) -> Drawn:
    """The graph itself, or one of at most about ``most`` nodes that represents it."""
    if len(graph) <= most:
        return Drawn(graph, tuple((node.id,) for node in graph.nodes))
    tree = _Tree(calls.grouping(graph), most)
    found = {node: tree.key(node) for node in tree.grouping.order}
    found |= {leaf: leaf for leaf in _shared(graph, found, min(_CROWD, most // 3))}
    members: dict[_Key, list[int]] = {}
    for node, key in found.items():
        members.setdefault(key, []).append(node)
    keys = list(reversed(members))
    owner = [0] * len(graph)
    for number, key in enumerate(keys):
        for node in members[key]:
            owner[node] = number
    flow = _Flow(graph, owner, len(keys))
    nodes = [_box(graph, tree, flow, i, key, members[key]) for i, key in enumerate(keys)]
    shown = replace(graph, nodes=tuple(nodes), parameters=(), root=owner[graph.root])
    return Drawn(shown, tuple(tuple(members[key]) for key in keys))


def _shared(graph: GradGraph, found: Mapping[int, _Key], most: int) -> list[int]:
    """The leaves that several boxes use, unless they are a crowd: each gets a box of its own."""
    users: dict[int, set[_Key]] = {}
    for node, _, edge in graph.edges():
        if labels.is_leaf(graph.nodes[edge.node]):
            users.setdefault(edge.node, set()).add(found[node.id])
    shared = [leaf for leaf, keys in users.items() if len(keys) > 1]
    return shared if len(shared) <= most else []


@dataclass
class _Tree:
    """The calls with what is in them, and which of them are opened."""

    grouping: calls.Grouping
    most: int
    inside: dict[_Area, list[_Area]] = field(default_factory=dict)
    place: dict[tuple[str, int], int] = field(default_factory=dict)
    size: Counter[_Area] = field(default_factory=Counter)
    opened: set[_Area] = field(default_factory=lambda: {None})

    def __post_init__(self) -> None:
        seen: set[_Area] = set()
        for node in self.grouping.order:
            area = self.grouping.call_of[node]
            self._enter(area, ("node", node))
            while area is not None and area not in seen:
                seen.add(area)
                parent = self.grouping.calls[area].parent
                self._enter(parent, ("call", area))
                self.inside.setdefault(parent, []).append(area)
                area = parent
        self._open()

    def _enter(self, area: _Area, item: tuple[str, int]) -> None:
        self.place[item] = self.size[area]
        self.size[area] += 1

    def _open(self) -> None:
        """Open whole levels, so that repeated layers look alike."""
        level: list[_Area] = [None]
        boxes = self._boxes(None)
        while level:
            level = [
                call
                for area in level
                if not self.crowded(area)
                for call in self.inside.get(area, ())
            ]
            boxes += sum(self._boxes(call) - 1 for call in level)
            if boxes > self.most:
                return
            self.opened.update(level)

    def crowded(self, area: _Area) -> bool:
        """Whether an area has too many items to draw each one."""
        return self.size[area] > min(_CROWD, self.most)

    @property
    def runs(self) -> int:
        """How many runs are drawn of an area with many items."""
        return min(_RUNS, max(1, self.most // 3))

    def _boxes(self, area: _Area) -> int:
        return self.runs if self.crowded(area) else self.size[area]

    def key(self, node: int) -> _Key:
        """What names the box that a node is drawn in."""
        chain = self.grouping.ancestors(self.grouping.call_of[node])
        for depth in reversed(range(len(chain))):
            area = chain[depth]
            inner = chain[depth - 1] if depth else None
            item = ("node", node) if inner is None else ("call", inner)
            if self.crowded(area):
                return "run", area, self.place[item] * self.runs // self.size[area]
            if inner is not None and inner not in self.opened:
                return "call", inner, 0
        return node


class _Flow:
    """The edges between boxes, each once, with the gradients that pass along them."""

    def __init__(self, graph: GradGraph, owner: Sequence[int], boxes: int) -> None:
        self.leaving: list[dict[Edge, list[Stats | None]]] = [{} for _ in range(boxes)]
        self.arriving: list[list[Stats | None]] = [[] for _ in range(boxes)]
        sizes = Counter(owner)
        self.arriving[owner[graph.root]] += graph.nodes[graph.root].grad_in
        for node, position, edge in graph.edges():
            source, target = owner[node.id], owner[edge.node]
            if source == target:
                continue
            stats = node.grad_out[position] if position < len(node.grad_out) else None
            ending = Edge(target, edge.input_nr if sizes[target] == 1 else 0)
            self.leaving[source].setdefault(ending, []).append(stats)
            self.arriving[target].append(stats)


def _box(
    graph: GradGraph, tree: _Tree, flow: _Flow, number: int, key: _Key, members: list[int]
) -> Node:
    """One node of the picture, its ``sequence`` the place in the forward order."""
    leaving = flow.leaving[number]
    rank = len(flow.leaving) - number
    out = tuple(_joint(stats) for stats in leaving.values())
    if len(members) == 1:
        node = graph.nodes[members[0]]
        rank_or_none = None if node.sequence is None else rank
        return replace(node, id=number, sequence=rank_or_none, next=tuple(leaving), grad_out=out)
    name, module = _names(graph, tree, key, members)
    arrived = _joint(flow.arriving[number])
    return Group(
        id=number,
        name=name,
        module=module,
        sequence=rank,
        next=tuple(leaving),
        grad_in=() if arrived is None else (arrived,),
        grad_out=out,
        members=tuple(members),
        summary=labels.summary([graph.nodes[node] for node in members]),
    )


def _names(graph: GradGraph, tree: _Tree, key: _Key, members: list[int]) -> tuple[str, str]:
    """A group's title, and the path of the module around it."""
    listed = tree.grouping.calls
    if isinstance(key, tuple) and key[0] == "call" and key[1] is not None:
        call = listed[key[1]]
        return call.title, listed[call.parent].path if call.parent is not None else ""
    around = key[1] if isinstance(key, tuple) else None
    path = listed[around].path if around is not None else ""
    return ", ".join(_commonest(graph, tree, around, members)), path


def _commonest(graph: GradGraph, tree: _Tree, area: _Area, members: list[int]) -> Iterator[str]:
    """What a run holds the most of: calls of modules if there are any, else operations."""
    names: Counter[str] = Counter()
    for node in members:
        chain = tree.grouping.ancestors(tree.grouping.call_of[node])
        depth = chain.index(area)
        inner = chain[depth - 1] if depth else None
        if inner is not None:
            names[tree.grouping.calls[inner].path] += 1
        elif not labels.is_leaf(graph.nodes[node]):
            names[labels.split_name(graph.nodes[node].name)[0]] += 1
    yield from (name for name, _ in names.most_common(2))
    if len(names) > 2:
        yield "…"


def _joint(parts: Sequence[Stats | None]) -> Stats | None:
    """The norm of several gradients as one vector; only statistics that can be combined."""
    norm = joint_norm(parts)
    if norm is None:
        return None
    known = [stats for stats in parts if stats is not None]
    if len(known) == 1:
        return known[0]
    return Stats(
        shape=(),
        norm=norm,
        mean=math.nan,
        std=math.nan,
        min=min(stats.min for stats in known),
        max=max(stats.max for stats in known),
        zeros=math.nan,
        nan=sum(stats.nan for stats in known),
        inf=sum(stats.inf for stats in known),
    )
