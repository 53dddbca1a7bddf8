"""A gradient graph as one self-contained page to explore: no network, no libraries.

The picture is the one of the SVG renderer; the page's script moves, folds, searches and plays it.
A content security policy allows only what is written here. Every name reaches the document as
text: escaped in the picture, and as JSON without ``<`` for the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence

from mnist_cli.autograd.diagnosing import Diagnosis
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.order import engine_order
from mnist_cli.autograd.render import labels, legend, style, svg
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.page_data import page_data
from mnist_cli.autograd.render.pen import escape
from mnist_cli.autograd.render.picture import Direction, Layout

_SCRIPTS = tuple(
    f"page_{name}.js"
    for name in ("state", "folding", "view", "minimap", "details", "summary", "modules", "main")
)
_LEGEND_WIDTH = 340.0


def render(
    graph: GradGraph,
    *,
    direction: Direction = "down",
    order: Sequence[int] | None = None,
    plan: Layout | None = None,
    findings: Sequence[Diagnosis] | None = None,
) -> str:
    """A whole HTML document.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
        order: ids of the nodes in the order of a replay's calls; default, the engine's order,
            computed from the graph.
        plan: the layout, if it exists already; it sets the direction.
        findings: what is wrong with the network, for the summary; default, those of
            :func:`mnist_cli.autograd.diagnosing.diagnose`.
    """
    plan = plan or layout(graph, direction=direction)
    scale = style.scale(plan.drawn.graph)
    signs, legend_height = legend.key(plan, scale, _LEGEND_WIDTH)
    order = engine_order(graph) if order is None else order
    css = style.variables(themes=True) + style.asset("drawing.css") + style.asset("page.css")
    script = "'use strict';(()=>{\n" + "\n".join(map(style.asset, _SCRIPTS)) + "})();"
    values = {
        "policy": _policy(css, script),
        "title": escape(svg.heading_text(graph)),
        "counts": escape(" · ".join(filter(None, _counts(graph, plan)))),
        "verdict": _verdict(graph),
        "css": css,
        "script": script,
        "width": f"{plan.width:.0f}",
        "height": f"{plan.height:.0f}",
        "drawing": "\n".join(svg.drawing(plan, scale)),
        "legend": signs,
        "legend_height": f"{legend_height:.0f}",
        "data": _json(page_data(graph, plan, scale, order, findings)),
    }
    # In one pass, so that no value is read as a template.
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], style.asset("page.html"))


def _counts(graph: GradGraph, plan: Layout) -> list[str]:
    return [*labels.origin(graph), *labels.counts(graph.totals()), plan.drawn.note]


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
