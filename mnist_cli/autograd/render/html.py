"""A gradient graph as one self-contained page to explore: no network, no libraries.

The picture is the one of the SVG renderer; the page's script moves, folds, searches and plays it.
A content security policy allows only what is written here. Every name reaches the document as
text: escaped in the picture, and as JSON without ``<`` for the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from mnist_cli.autograd.diagnosing import parameter_row
from mnist_cli.autograd.graph import GradGraph, Node, Stats
from mnist_cli.autograd.order import engine_order
from mnist_cli.autograd.render import labels, legend, style, svg
from mnist_cli.autograd.render.layout import PAD, TITLE, layout
from mnist_cli.autograd.render.pen import escape
from mnist_cli.autograd.render.picture import Direction, Layout
from mnist_cli.autograd.render.stacking import ATTACH, LANE

_SCRIPTS = ("page_state.js", "page_folding.js", "page_view.js", "page_details.js", "page_main.js")
_LEGEND_WIDTH = 340.0


def render(
    graph: GradGraph,
    *,
    direction: Direction = "down",
    order: Sequence[int] | None = None,
    plan: Layout | None = None,
) -> str:
    """A whole HTML document.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
        order: ids of the nodes in the order of a replay's calls; default, the engine's order,
            computed from the graph.
        plan: the layout, if it exists already; it sets the direction.
    """
    plan = plan or layout(graph, direction=direction)
    scale = style.scale(graph)
    signs, legend_height = legend.key(graph, plan, scale, _LEGEND_WIDTH)
    order = engine_order(graph) if order is None else order
    css = style.variables(themes=True) + style.asset("drawing.css") + style.asset("page.css")
    script = "'use strict';(()=>{\n" + "\n".join(map(style.asset, _SCRIPTS)) + "})();"
    values = {
        "policy": _policy(css, script),
        "title": escape(svg.heading_text(graph)),
        "counts": escape(" · ".join([*labels.origin(graph), *labels.counts(graph.totals())])),
        "verdict": _verdict(graph),
        "css": css,
        "script": script,
        "width": f"{plan.width:.0f}",
        "height": f"{plan.height:.0f}",
        "drawing": "\n".join(svg.drawing(graph, plan, scale)),
        "legend": signs,
        "legend_height": f"{legend_height:.0f}",
        "data": _json(_data(graph, plan, order)),
    }
    # In one pass, so that no value is read as a template.
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], style.asset("page.html"))


def _policy(css: str, script: str) -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest(css)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _verdict(graph: GradGraph) -> str:
    if graph.replay is None:
        return ""
    kind = "exact" if graph.replay.exact else "differs"
    return f'<p class="verdict {kind}">{escape(labels.verdict(graph))}</p>'


def _json(data: object) -> str:
    """JSON for a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(graph: GradGraph, plan: Layout, order: Sequence[int]) -> dict[str, Any]:
    return {
        "direction": plan.direction,
        "geometry": {"attach": ATTACH, "lane": LANE, "title": TITLE, "pad": PAD},
        "root": graph.root,
        "width": plan.width,
        "height": plan.height,
        "nodes": [_node(node) for node in graph.nodes],
        "boxes": [
            [b.node, b.call, b.x, b.y, b.card.width, b.card.height, b.card.kind == "reference"]
            for b in plan.boxes
        ],
        "frames": _frames(graph, plan),
        "wires": [[w.source, w.target, w.position, w.points, w.borders] for w in plan.wires],
        "order": [n for n in order if 0 <= n < len(graph)],
        "parameters": _parameters(graph),
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": labels.visible(node.name),
        "module": labels.visible(node.module),
        "parameter": None if node.parameter is None else labels.visible(node.parameter),
        "sequence": node.sequence,
        "leaf": labels.is_leaf(node),
        "outputs": [[labels.shape(m.shape), labels.visible(m.dtype)] for m in node.outputs],
        "next": [None if e is None else [e.node, e.input_nr] for e in node.next],
        "saved": [
            [
                labels.visible(s.slot),
                labels.shape(s.shape),
                labels.visible(s.dtype),
                labels.size(s.bytes),
                s.storage,
            ]
            for s in node.saved
        ],
        "attributes": [
            [labels.visible(key), labels.visible(_plain(value))]
            for key, value in node.attributes.items()
        ],
        "in": [_stats(s) for s in node.grad_in],
        "out": [_stats(s) for s in node.grad_out],
    }


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _stats(stats: Stats | None) -> list[str] | None:
    """Figures as text, in the order of the page's table."""
    if stats is None:
        return None
    figures = [stats.norm, stats.mean, stats.std, stats.min, stats.max]
    zeros = "NaN" if math.isnan(stats.zeros) else f"{stats.zeros:.1%}"
    return [
        labels.shape(stats.shape),
        *map(labels.number, figures),
        zeros,
        str(stats.nan),
        str(stats.inf),
    ]


def _frames(graph: GradGraph, plan: Layout) -> list[dict[str, Any]]:
    """Frames with what to write on them when they are folded."""
    inside: list[list[Node]] = [[] for _ in plan.frames]
    for box in plan.boxes[: len(graph)]:
        call = box.call
        while call is not None:
            inside[call].append(graph.nodes[box.node])
            call = plan.frames[call].call.parent
    return [
        {
            "title": frame.call.short_title,
            "parent": frame.call.parent,
            "rect": [frame.x, frame.y, frame.width, frame.height],
            "end": frame.title_end,
            "summary": _summary(nodes),
        }
        for frame, nodes in zip(plan.frames, inside, strict=True)
    ]


def _summary(nodes: Sequence[Node]) -> str:
    leaves = sum(map(labels.is_leaf, nodes))
    counted = [labels.counted(len(nodes) - leaves, "operation")]
    return " · ".join([*counted, *([labels.counted(leaves, "parameter")] if leaves else [])])


def _parameters(graph: GradGraph) -> list[list[Any]]:
    """Rows of the table: name, node, shape, norms, their ratio, share of zeros, replay's verdict.

    Each figure is a pair of its text and a number to sort by.
    """
    compared = {c.name: c for c in graph.replay.parameters} if graph.replay else {}
    rows = []
    for p in graph.parameters:
        row = parameter_row(p)
        match = compared.get(p.name)
        equal = "" if match is None else "equal" if match.equal else f"{match.max_ulp} ULP"
        rows.append(
            [
                labels.visible(p.name),
                p.node,
                labels.shape(p.shape),
                _figure(row.grad_norm),
                _figure(row.weight_norm),
                _figure(row.ratio),
                _figure(row.dead, percent=True),
                equal,
            ]
        )
    return rows


def _figure(value: float | None, *, percent: bool = False) -> list[Any]:
    if value is None:
        return ["", None]
    sortable = value if math.isfinite(value) else None
    return [f"{value:.1%}" if percent else labels.number(value), sortable]
