"""The legend of signs and colours, for the SVG file and the page."""

from __future__ import annotations

from collections.abc import Iterator

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import cards, labels, style
from mnist_cli.autograd.render.condensing import Group
from mnist_cli.autograd.render.pen import coord, escape
from mnist_cli.autograd.render.picture import Layout

_Entry = tuple[float, str, str]
"""One entry of the legend: the width of its sign, the sign, and the text."""


def key(plan: Layout, scale: style.Scale, width: float) -> tuple[str, float]:
    """The legend, wrapped to a width, and its height."""
    parts, x, y = [], 0.0, 0.0
    for across, sign, words in _entries(plan.drawn.graph, plan, scale):
        wide = across + 7 + cards.text_width(words, 11)
        if x and x + wide > width:
            x, y = 0.0, y + 24
        parts.append(
            f'<g transform="translate({coord(x)} {coord(y)})">{sign}'
            f'<text x="{coord(across + 7)}" y="14">{escape(words)}</text></g>'
        )
        x += wide + 20
    return "".join(parts), y + 24


def _entries(graph: GradGraph, plan: Layout, scale: style.Scale) -> Iterator[_Entry]:
    def card(kind: str, radius: int, extra: str = "") -> str:
        return (
            f'<g class="box {kind}"><rect class="card" x=".5" y="2.5" width="26" height="15" '
            f'rx="{radius}"/>{extra}</g>'
        )

    stripe = '<rect class="stripe" x=".5" y="6" width="3" height="8" rx="1.5"/>'
    yield 27, card("operation", 5, stripe), "operation"
    if any(isinstance(node, Group) for node in graph.nodes):
        yield 27, card("group", 5), "several operations"
    if any(map(labels.is_leaf, graph.nodes)):
        yield 27, card("parameter", 7), "parameter"
    if plan.frames:
        ground = '<rect class="ground" x=".5" y="1.5" width="26" height="17" rx="5"/>'
        yield 27, f'<g class="frame">{ground}</g>', "module"
    if any(node.saved for node in graph.nodes):
        chip = '<g class="chip"><rect x=".5" y="4" width="26" height="12" rx="6"/></g>'
        yield 27, chip, "kept for backward"
    if any(None in node.next for node in graph.nodes if not labels.is_leaf(node)):
        ring = '<g class="box"><circle class="stub" cx="5" cy="10" r="3.2"/></g>'
        yield 10, ring, "input without gradient"
    if any(b.card.kind == "reference" for b in plan.boxes):
        yield 27, card("reference", 7), "drawn elsewhere"
    yield from _norm_entries(graph, scale)


def _norm_entries(graph: GradGraph, scale: style.Scale) -> Iterator[_Entry]:
    if scale.low is None or scale.high is None:
        return
    steps = "".join(
        f'<g class="wire g{i}"><path class="step" d="M{36 + i * 20} 10h20"/></g>'
        for i in range(style.LEVELS)
    )
    ends = 36 + style.LEVELS * 20
    low, high = (
        f'<text x="{x}" y="14" text-anchor="{anchor}">10<tspan dy="-4" font-size="8">'
        f"{str(power).replace('-', '−')}</tspan></text>"
        for x, anchor, power in ((31, "end", scale.low), (ends + 5, "start", scale.high))
    )
    yield ends + 30, low + steps + high, "gradient norm"
    arrow = '<g class="wire g3"><path d="M7 10h20"/><path class="tip" d="M0 10l9-4.5v9Z"/></g>'
    yield 27, arrow, "direction of the gradient"
    norms = {
        scale.level(labels.edge_norm(node, i))
        for node in graph.nodes
        for i in range(len(node.next))
    }
    for level, words in (("zero", "zero"), ("bad", "NaN or infinite")):
        if level in norms:
            sign = f'<g class="wire {level}"><path d="M0 10h26"/></g>'
            yield 27, sign, words
