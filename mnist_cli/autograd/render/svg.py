"""The picture of a gradient graph as one SVG file: no network, no fonts, no scripts.

Follows the reader's colour scheme, and prints light. Each box and wire has a tooltip with its
figures. The HTML page draws with the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnist_cli.autograd.graph import GradGraph, Node, Stats
from mnist_cli.autograd.render import cards, labels, legend, style
from mnist_cli.autograd.render.condensing import Group
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.pen import LABEL, TIP, coord, escape, path
from mnist_cli.autograd.render.picture import Box, Direction, Frame, Layout, Wire

_MARGIN = 28.0
_NARROWEST = 450.0
_RADIUS = {"operation": 9.0, "parameter": 14.0, "group": 10.0}


def render(graph: GradGraph, *, direction: Direction = "down", plan: Layout | None = None) -> str:
    """A self-contained SVG document.

    Of a graph that is too large to draw, whole modules and runs of operations are one box each,
    and the picture says so.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
        plan: the layout, if it exists already; it sets the direction.
    """
    plan = plan or layout(graph, direction=direction)
    scale = style.scale(plan.drawn.graph)
    width = max(plan.width, _NARROWEST) + 2 * _MARGIN
    head, top = _heading(graph, plan, width - 2 * _MARGIN)
    signs, legend_height = legend.key(plan, scale, width - 2 * _MARGIN)
    start = top + legend_height + 26
    left = (width - plan.width) / 2
    height = _MARGIN + start + plan.height + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" role="img" '
        f'aria-labelledby="title" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f'<title id="title">{escape(heading_text(graph))}</title>',
        f"<style>{style.variables()}{style.asset('drawing.css')}</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="var(--paper)"/>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">{head}',
        f'<g class="key" transform="translate(0 {top:.0f})">{signs}</g></g>',
        f'<g transform="translate({left:.1f} {_MARGIN + start:.1f})">',
        *drawing(plan, scale),
        "</g></svg>\n",
    ]
    return "\n".join(parts)


def heading_text(graph: GradGraph) -> str:
    """The picture's title."""
    model = graph.context.get("model")
    return f"Backward graph of {labels.visible(model)}" if model else "Backward graph"


def _heading(graph: GradGraph, plan: Layout, width: float) -> tuple[str, float]:
    """Title and totals, and the height that they take."""
    phrases = [*labels.origin(graph), *labels.counts(graph.totals()), labels.verdict(graph)]
    phrases += [plan.drawn.note]
    title = labels.without_middle(heading_text(graph), 60)
    rows = [f'<text class="title" y="14">{escape(title)}</text>']
    y = 36.0
    for line in _wrapped([p for p in phrases if p], width):
        rows.append(f'<text class="subtitle" y="{y:.0f}">{escape(line)}</text>')
        y += 17
    return "".join(rows), y


def _wrapped(phrases: Sequence[str], width: float) -> Iterator[str]:
    line = ""
    for phrase in phrases:
        longer = f"{line} · {phrase}" if line else phrase
        if line and cards.text_width(longer, 12) > width:
            yield line
            longer = phrase
        line = longer
    if line:
        yield line


def drawing(plan: Layout, scale: style.Scale) -> Iterator[str]:
    """Frames, wires and boxes, in this order, without anything around them."""
    yield '<g class="frames">'
    yield from (_frame(f, i) for i, f in enumerate(plan.frames))
    yield '</g><g class="wires">'
    yield from (_wire(plan, w, i, scale) for i, w in enumerate(plan.wires))
    yield '</g><g class="boxes">'
    yield from (_box(plan, b, i, scale) for i, b in enumerate(plan.boxes))
    yield "</g>"


def _frame(record: Frame, number: int) -> str:
    title, short = record.call.title, record.call.short_title
    room = cards.text_width(short, 11, bold=True)
    x = record.width - room - 14 if record.title_end else 14.0
    hint = f"{title}: {labels.counted(record.nodes, 'node')}"
    return (
        f'<g class="frame" data-frame="{number}" '
        f'transform="translate({record.x:.1f} {record.y:.1f})"><title>{escape(hint)}</title>'
        f'<rect class="ground" width="{record.width:.1f}" height="{record.height:.1f}" rx="12"/>'
        f'<text x="{x:.1f}" y="19">{escape(short)}</text></g>'
    )


def _wire(plan: Layout, record: Wire, number: int, scale: style.Scale) -> str:
    """An edge: width and colour show the gradient's norm, the tip its direction."""
    user = plan.drawn.graph.nodes[record.target]
    edge = user.next[record.position]
    norm = labels.edge_norm(user, record.position)
    source = plan.boxes[record.source].node
    result = edge.input_nr if edge is not None else 0
    x, y = record.points[0]
    label = ""
    if result:
        dx, dy = LABEL[plan.direction]
        label = f'<text x="{dx}" y="{dy}">:{result}</text>'
    return (
        f'<g class="wire {scale.level(norm)}" data-wire="{number}">'
        f"<title>{escape(_wire_hint(plan, user, source, record.position, norm))}</title>"
        f'<path d="{path(record.points, plan.direction)}"/>'
        f'<g class="start" transform="translate({coord(x)} {coord(y)})">'
        f'<path class="tip" d="{TIP[plan.direction]}"/>{label}</g></g>'
    )


def _wire_hint(plan: Layout, user: Node, source: int, position: int, norm: float | None) -> str:
    known = "not recorded" if norm is None else labels.number(norm)
    return (
        f"{plan.drawn.title(user.id)} → {plan.drawn.title(source)}"
        f" · input {position} · gradient norm {known}"
    )


def _box(plan: Layout, record: Box, number: int, scale: style.Scale) -> str:
    """A node's card, or a reference to one."""
    card, node = record.card, plan.drawn.numbered(record.node)
    classes = ["box", card.kind]
    alarm = any(s is not None and not s.finite for s in node.grad_in)
    classes += ["root"] if record.node == plan.drawn.graph.root and card.kind != "reference" else []
    classes += ["alarm"] if alarm and card.kind != "reference" else []
    parts = [
        f'<g class="{" ".join(classes)}" data-box="{number}" '
        f'transform="translate({coord(record.x)} {coord(record.y)})">',
        f"<title>{escape(_node_hint(node))}</title>",
        f'<rect class="card" width="{coord(card.width)}" height="{coord(card.height)}" '
        f'rx="{coord(_RADIUS.get(card.kind, card.height / 2))}"/>',
    ]
    if card.kind == "operation":
        parts.append(
            f'<rect class="stripe" x="0" y="9" width="3.5" height="{coord(card.height - 18)}" '
            'rx="1.7"/>'
        )
        parts += _stubs(node, plan.direction)
    parts += map(_text, card.texts)
    if card.dot is not None:
        parts.append(
            f'<circle class="dot {scale.level(card.dot.norm)}" cx="{coord(card.dot.x)}" '
            f'cy="{coord(card.dot.y)}" r="4"/>'
        )
    parts += [_chip(chip) for chip in card.chips]
    return "".join(parts) + "</g>"


def _text(text: cards.Text) -> str:
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    more = f'<tspan class="suffix" dx="2">{escape(text.suffix)}</tspan>' if text.suffix else ""
    place = f'x="{coord(text.x)}" y="{coord(text.y)}"{anchor}'
    return f'<text class="{text.role}" {place}>{escape(text.string)}{more}</text>'


def _stubs(node: Node, direction: Direction) -> Iterator[str]:
    """A small ring on the border for each input that needs no gradient."""
    for place, position in enumerate(i for i, edge in enumerate(node.next) if edge is None):
        along = 16 + 10 * place
        x, y = (along, 0) if direction == "down" else (0, along)
        yield (
            f'<circle class="stub" cx="{x}" cy="{y}" r="3">'
            f"<title>input {position} needs no gradient</title></circle>"
        )


def _chip(chip: cards.Chip) -> str:
    return (
        f'<g class="chip"><rect x="{coord(chip.x)}" y="{coord(chip.y)}" width="{coord(chip.width)}" '
        f'height="{coord(chip.height)}" rx="7.5"/>'
        f'<text x="{coord(chip.x + chip.width / 2)}" y="{coord(chip.y + 10.7)}" '
        f'text-anchor="middle">{escape(chip.string)}</text></g>'
    )


def _node_hint(node: Node) -> str:
    """A node's figures in lines, for a tooltip."""
    if isinstance(node, Group):
        return f"{labels.visible(node.name)} — {node.summary}"
    rows = [f"#{node.id} {labels.visible(node.name)}"]
    if node.module:
        rows.append(f"module {labels.visible(node.module)}")
    if node.parameter:
        rows.append(f"parameter {labels.visible(node.parameter)}")
    rows += [
        f"result {i}: {labels.shape(m.shape)} {labels.visible(m.dtype)}"
        for i, m in enumerate(node.outputs)
    ]
    rows += [f"gradient in {i}: {_figures(s)}" for i, s in enumerate(node.grad_in) if s]
    rows += [
        f"saved {labels.visible(s.slot)}: {labels.shape(s.shape)} {labels.size(s.bytes)}"
        for s in node.saved
    ]
    return " — ".join(rows)


def _figures(stats: Stats) -> str:
    return (
        f"norm {labels.number(stats.norm)}, mean {labels.number(stats.mean)}, "
        f"{labels.number(stats.min)} to {labels.number(stats.max)}"
    )
