"""A gradient graph as a text tree for the terminal, from the loss down to the parameters.

Reads like ``git log --graph``: a chain goes straight down, and only branches are indented. Each
node is below its nearest dominator, the node that every path to it passes. So the two arms of a
residual block are short branches, and the trunk continues below them. Knows no colours:
:func:`lines` gives spans with roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Literal

from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import Edge, GradGraph, Node, joint_norm
from mnist_cli.autograd.render import labels, module_table, topology

View = Literal["graph", "modules"]

#: What a span of a line can be.
ROLES = (
    "title", "gutter", "slot", "id", "operation", "suffix", "parameter", "module", "shape",
    "norm", "alarm", "note", "space",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """A piece of a line, and what it is: one of :data:`ROLES`."""

    text: str
    role: str


Line = tuple[Span, ...]


@dataclass(frozen=True)
class _Glyphs:
    node: str = "●"
    leaf: str = "■"
    above: str = "↺"
    below: str = "↓"
    none: str = "·"
    tee: str = "├─"
    end: str = "└─"
    bar: str = "│ "
    cut: str = "…"
    times: str = "×"
    dot: str = " · "


_UNICODE = _Glyphs()
_ASCII = _Glyphs("*", "=", "^", "v", ".", "|-", "`-", "| ", "~", "x", ", ")
_BLANK = "  "


@dataclass(frozen=True)
class _Row:
    """A line before its columns are set: ``lead`` is before it, ``rest`` before what follows.

    ``again`` if it refers to a node that has its own line elsewhere.
    """

    node: Node | None
    lead: str
    rest: str = ""
    slot: str = ""
    input_nr: int = 0
    again: bool = False
    glyph: str = ""


def render(
    graph: GradGraph, *, ascii_only: bool = False, width: int = 100, view: View = "graph"
) -> str:
    """The tree as plain text.

    Args:
        graph: the graph.
        view: "modules" gives the calls of modules in the forward pass instead.
        ascii_only: use no character outside ASCII; in names they are escaped.
        width: columns to fit into; never less than 40 are used.

    Raises:
        UsageError: no such view, or the graph has no calls of modules.
    """
    if view == "modules":
        return "\n".join(module_table.lines(graph, ascii_only=ascii_only)) + "\n"
    if view != "graph":
        raise UsageError(f"no view '{view}'", "Choose from graph, modules.")
    text = "\n".join(
        "".join(span.text for span in line).rstrip()
        for line in lines(graph, ascii_only=ascii_only, width=width)
    )
    return (text.encode("ascii", "backslashreplace").decode() if ascii_only else text) + "\n"


def lines(graph: GradGraph, *, ascii_only: bool = False, width: int = 100) -> Iterator[Line]:
    """The tree line by line, in spans that say what they are."""
    glyphs = _ASCII if ascii_only else _UNICODE
    width = max(width, 40)
    for phrases in _header(graph):
        for text in _joined(phrases, glyphs.dot, width):
            yield (Span(text, "title"),)
    rows = list(_Walk(graph, glyphs, width).rows())
    if not rows:
        return
    columns = _Columns(rows, glyphs, width)
    yield ()
    yield columns.heading()
    for row in rows:
        yield columns.line(row)
    yield ()
    for text in _joined(_key(rows, glyphs), "   ", width):
        yield (Span(text, "note"),)


def _header(graph: GradGraph) -> Iterator[list[str]]:
    yield ["backward graph", *labels.counts(graph.totals())]
    yield labels.origin(graph)
    if graph.replay is not None:
        yield [labels.verdict(graph)]
    for phrase in graph.unreadable:
        yield [f"not readable here: {labels.visible(phrase)}"]


def _joined(phrases: Sequence[str], between: str, width: int) -> Iterator[str]:
    """Phrases in as many lines as they need; a line breaks inside a phrase only if that is longer."""
    line = ""
    for phrase in phrases:
        longer = f"{line}{between}{phrase}" if line else phrase
        if line and len(longer) > width:
            yield from wrap(line, width, break_long_words=False, break_on_hyphens=False)
            longer = phrase
        line = longer
    yield from wrap(line, width, break_long_words=False, break_on_hyphens=False)


def _key(rows: Sequence[_Row], glyphs: _Glyphs) -> list[str]:
    used = {row.glyph for row in rows}
    meanings = {
        glyphs.node: "operation",
        glyphs.leaf: "parameter",
        glyphs.none: "needs no gradient",
        glyphs.above: "shown above",
        glyphs.below: "shown below",
    }
    slots = ["[i] input i"] if any(row.slot for row in rows) else []
    numbers = [":n result n of that node"] if any(row.input_nr for row in rows) else []
    return [*(f"{g} {m}" for g, m in meanings.items() if g in used), *slots, *numbers]


class _Walk:
    """Visits a graph once, without recursion, and gives the lines in order.

    Of a gutter only the last ``width`` characters are kept: a line shows no more.
    """

    def __init__(self, graph: GradGraph, glyphs: _Glyphs, width: int) -> None:
        self.width = width
        self.nodes = graph.nodes
        self.root = graph.root
        self.glyphs = glyphs
        self.heights = topology.heights(graph)
        self.dominators = topology.dominators(graph)
        self.children: list[list[int]] = [[] for _ in graph.nodes]
        for node, parent in enumerate(self.dominators):
            if parent is not None:
                self.children[parent].append(node)
        self.arms = _arms(graph, self.dominators, self.children)
        self.seen: set[int] = set()

    def rows(self) -> Iterator[_Row]:
        waiting = [_Row(self.nodes[self.root], "")] if self.nodes else []
        while waiting:
            row = waiting.pop()
            yield replace(row, glyph=self._glyph(row))
            if row.node is not None and not row.again:
                self.seen.add(row.node.id)
                waiting.extend(reversed(self._below(row, row.node)))

    def _glyph(self, row: _Row) -> str:
        if row.node is None:
            return self.glyphs.none
        if row.again:
            return self.glyphs.above if row.node.id in self.seen else self.glyphs.below
        return self.glyphs.leaf if labels.is_leaf(row.node) else self.glyphs.node

    def _below(self, row: _Row, node: Node) -> list[_Row]:
        """What follows a node's line: its inputs in order, then their meeting point, then the trunk.

        The trunk continues without indentation.
        """
        children, trunk = self.children[node.id], self._trunk(node.id)
        several = len(node.next) > 1
        first: dict[int, tuple[int, Edge]] = {}
        side: list[_Row] = []
        before = row.rest[-self.width :]
        lead, rest = before + self.glyphs.tee, before + self.glyphs.bar
        for position, edge in enumerate(node.next):
            slot = f"[{position}]" if several else ""
            if edge is None:
                if several:
                    side.append(_Row(None, lead, slot=slot))
                continue
            target = self.nodes[edge.node]
            if edge.node not in first and self.dominators[edge.node] == node.id:
                first[edge.node] = (position, edge)
                if edge.node != trunk:
                    side.append(_Row(target, lead, rest, slot, edge.input_nr))
            else:
                side.append(_Row(target, lead, "", slot, edge.input_nr, again=True))
        side += [_Row(self.nodes[c], lead, rest) for c in children if c not in first and c != trunk]
        if trunk is None:
            if side:  # a corner at the last branch: nothing follows it
                end = before + self.glyphs.end
                side[-1] = replace(side[-1], lead=end, rest=before + _BLANK)
            return side
        position, edge = first.get(trunk, (-1, Edge(trunk, 0)))
        slot = f"[{position}]" if several and position >= 0 else ""
        return [*side, _Row(self.nodes[trunk], row.rest, row.rest, slot, edge.input_nr)]

    def _trunk(self, node: int) -> int | None:
        """The child in which the others meet, or else the one with the longest path to a leaf."""
        children = self.children[node]
        trunk = max(children, key=lambda c: (c not in self.arms, self.heights[c], -c), default=None)
        alone = len(self.nodes[node].next) == 1
        leaf = trunk is not None and labels.is_leaf(self.nodes[trunk])
        return None if leaf and not alone else trunk


def _arms(
    graph: GradGraph, dominators: Sequence[int | None], children: Sequence[Sequence[int]]
) -> set[int]:
    """The nodes with a path into a sibling's part of the graph: arms, never trunks."""
    arms: set[int] = set()
    depths = {graph.root: 0}
    path: list[int] = []  # from the root down the tree of dominators
    waiting = [graph.root] if graph.nodes else []
    while waiting:
        number = waiting.pop()
        path[depths[number] :] = [number]
        for edge in graph.nodes[number].next:
            meeting = None if edge is None else dominators[edge.node]
            if edge is None or meeting is None or labels.is_leaf(graph.nodes[edge.node]):
                continue
            place = depths[meeting] + 1
            arm = path[place : place + 1]
            arms.update(one for one in arm if one != edge.node)
        depths.update(dict.fromkeys(children[number], depths[number] + 1))
        waiting.extend(children[number])
    return arms


class _Columns:
    """Sets rows in columns: node, module, the gradient's shape and norm."""

    def __init__(self, rows: Sequence[_Row], glyphs: _Glyphs, width: int) -> None:
        self.glyphs = glyphs
        self.ascii_only = glyphs is _ASCII
        self.width = width
        known = [row.node for row in rows if row.node is not None and not row.again]
        longest_module = max((len(self._text(n.module)) for n in known), default=0)
        self.module = min(max(longest_module, 6), width // 4) if longest_module else 0
        self.shape = min(max([5, *(len(self._shape(n)) for n in known)]), width // 4)
        self.norm = 8
        room = width - self.shape - self.norm - 2 * 2 - (self.module + 2 if self.module else 0)
        lengths = (sum(len(span.text) for span in self._left(row)) for row in rows)
        self.left = max(12, min(room, max(lengths)))

    def heading(self) -> Line:
        cells = ["node".ljust(self.left)]
        cells += ["module".ljust(self.module)] if self.module else []
        cells += ["shape".ljust(self.shape)]
        text = "  ".join([*cells, "gradient norm"])
        return (Span(text if len(text) <= self.width else "  ".join([*cells, "norm"]), "note"),)

    def line(self, row: _Row) -> Line:
        left = self._fit(self._left(row))
        if row.node is None or row.again:
            return left
        norm = joint_norm(row.node.grad_in)
        text = "" if norm is None else labels.number(norm)
        alarm = norm is not None and (norm != norm or norm in (float("inf"), 0.0))
        cells = [self._cell(self._text(row.node.module), self.module, "module")]
        cells += [self._cell(self._shape(row.node), self.shape, "shape")]
        gap = Span(_BLANK, "space")
        spans = [span for cell in cells[not self.module :] for span in (gap, cell)]
        return (*left, *spans, gap, Span(text, "alarm" if alarm else "norm"))

    def _left(self, row: _Row) -> list[Span]:
        spans = [Span(row.lead, "gutter"), Span(row.glyph + " ", "gutter")]
        if row.slot:
            spans.append(Span(row.slot + " ", "slot"))
        if row.node is None:
            return spans
        number = f":{row.input_nr}" if row.input_nr else ""
        spans.append(Span(f"#{row.node.id}{number} ", "id"))
        return spans + self._name(row.node)

    def _name(self, node: Node) -> list[Span]:
        operation, suffix = labels.split_name(self._text(node.name))
        spans = [Span(operation, "operation"), Span(suffix, "suffix")]
        if node.parameter is not None:
            spans += [Span(" ", "space"), Span(self._text(node.parameter), "parameter")]
        return spans

    def _text(self, name: str) -> str:
        text = labels.visible(name)
        return text.encode("ascii", "backslashreplace").decode() if self.ascii_only else text

    def _shape(self, node: Node) -> str:
        return labels.outputs(node.outputs, times=self.glyphs.times)

    def _cell(self, text: str, width: int, role: str) -> Span:
        cut = text if len(text) <= width else self.glyphs.cut + text[len(text) - width + 1 :]
        return Span(cut.ljust(width), role)

    def _fit(self, spans: list[Span]) -> Line:
        """Cut to the column: a gutter above half of it loses its start, a name its end."""
        gutter, *others = spans
        if len(gutter.text) > self.left // 2:
            keep = gutter.text[-(self.left // 2 - 1) :]
            gutter = Span(self.glyphs.cut + keep, "gutter")
        room, kept = self.left - len(gutter.text), []
        for span in others:
            text = span.text if len(span.text) <= room else span.text[: room - 1] + self.glyphs.cut
            kept.append(Span(text if room > 0 else "", span.role))
            room -= len(kept[-1].text)
        return (gutter, *kept, Span(" " * max(room, 0), "space"))
