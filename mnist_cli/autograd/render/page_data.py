"""What the page's script knows of a graph, as plain data for JSON: names escaped, figures as text.

Of a graph that is too large to draw, every node keeps its name, edges and norm; the rest is in the
JSON form.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mnist_cli.autograd.diagnosing import Diagnosis, diagnose, parameter_row
from mnist_cli.autograd.graph import GradGraph, Node, Stats
from mnist_cli.autograd.render import labels, module_rows, style
from mnist_cli.autograd.render.cards import text_width
from mnist_cli.autograd.render.layout import PAD, TITLE
from mnist_cli.autograd.render.picture import Layout
from mnist_cli.autograd.render.stacking import ATTACH, LANE

_FINDINGS = 100
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def page_data(
    graph: GradGraph,
    plan: Layout,
    scale: style.Scale,
    order: Sequence[int],
    findings: Sequence[Diagnosis] | None,
) -> dict[str, Any]:
    """Everything that the script reads.

    Args:
        graph: the whole graph.
        plan: its layout.
        scale: the colours of its norms.
        order: ids of the nodes in the order of a replay's calls.
        findings: what is wrong with the network; default, what the graph itself shows.
    """
    whole = not plan.drawn.note
    kinds: dict[str, int] = {}
    nodes = [_node(node, kinds, whole=whole) for node in graph.nodes]
    return {
        "direction": plan.direction,
        "geometry": {"attach": ATTACH, "lane": LANE, "title": TITLE, "pad": PAD},
        "root": graph.root,
        "whole": whole,
        "kinds": [json.loads(kind) for kind in kinds],
        "nodes": nodes,
        "members": None if whole else plan.drawn.members,
        "boxes": [
            [b.node, b.call, b.x, b.y, b.card.width, b.card.height, b.card.kind == "reference"]
            for b in plan.boxes
        ],
        "frames": _frames(graph, plan),
        "wires": [[w.source, w.target, w.position, w.points, w.borders] for w in plan.wires],
        "order": [n for n in order if 0 <= n < len(graph)],
        "parameters": _parameters(graph),
        "summary": _summary(graph, plan, findings),
        "modules": module_rows.rows(graph, scale),
    }


def _node(node: Node, kinds: dict[str, int], *, whole: bool) -> dict[str, Any]:
    """A node without what is empty; what many nodes have in common is one of ``kinds``."""
    kind = json.dumps(
        {
            "name": labels.visible(node.name),
            "module": labels.visible(node.module),
            "leaf": labels.is_leaf(node),
            "outputs": [[labels.shape(m.shape), labels.visible(m.dtype)] for m in node.outputs],
        }
    )
    row = {
        "kind": kinds.setdefault(kind, len(kinds)),
        "parameter": None if node.parameter is None else labels.visible(node.parameter),
        "sequence": node.sequence,
        "next": [None if e is None else [e.node, e.input_nr] for e in node.next],
        "in": [_stats(s, whole=whole) for s in node.grad_in],
        **(_details(node) if whole else {}),
    }
    return {key: value for key, value in row.items() if value is not None and value != []}


def _details(node: Node) -> dict[str, Any]:
    return {
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
        "out": [_stats(s) for s in node.grad_out],
    }


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _stats(stats: Stats | None, *, whole: bool = True) -> list[str] | None:
    """Figures as text, in the order of the page's table; only the first two, unless ``whole``."""
    if stats is None:
        return None
    if not whole:
        return [labels.shape(stats.shape), labels.number(stats.norm)]
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
    for box in plan.boxes[: len(plan.drawn.members)]:
        call = box.call
        while call is not None:
            inside[call] += [graph.nodes[node] for node in plan.drawn.members[box.node]]
            call = plan.frames[call].call.parent
    alike = _alike([frame.call.path for frame in plan.frames], inside)
    return [
        {
            "title": frame.call.short_title,
            "path": labels.visible(frame.call.path),
            "parent": frame.call.parent,
            "rect": [frame.x, frame.y, frame.width, frame.height],
            "end": frame.title_end,
            "room": round(text_width(frame.call.short_title, 11, bold=True) + 28, 1),
            "summary": labels.summary(nodes),
            "alike": twins,
        }
        for frame, nodes, twins in zip(plan.frames, inside, alike, strict=True)
    ]


def _alike(paths: Sequence[str], inside: Sequence[Sequence[Node]]) -> list[list[int] | None]:
    """Repeated layers: (group, place in it, size of it) of each call with a twin, else None.

    Two calls are alike if they hold the same operations with results of the same shapes, and
    their paths differ only in the layers' numbers.
    """
    looks = [
        (_NUMBER.sub("*", path), *((node.name, node.outputs) for node in _by_age(nodes)))
        for path, nodes in zip(paths, inside, strict=True)
    ]
    sizes = Counter(looks)
    groups = {look: i for i, look in enumerate(look for look in sizes if sizes[look] > 1)}
    seen: Counter[Any] = Counter()
    result: list[list[int] | None] = []
    for look in looks:
        seen[look] += 1
        result.append([groups[look], seen[look], sizes[look]] if look in groups else None)
    return result


def _by_age(nodes: Sequence[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (node.sequence is None, node.sequence or 0, node.name))


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


def _summary(
    graph: GradGraph, plan: Layout, findings: Sequence[Diagnosis] | None
) -> dict[str, Any]:
    """The first thing to read: counts, the verdict with its notes, the findings in words."""
    totals = graph.totals()
    recorded = any(node.grad_in for node in graph.nodes)
    if findings is None:
        findings = diagnose(graph) if recorded else ()
    leaves = sum(math.prod(p.shape) for p in graph.parameters)
    tensors = labels.counted(totals.saved_tensors, "tensor")
    facts = [
        ["nodes", f"{totals.nodes:,}"],
        ["edges", f"{totals.edges:,}"],
        ["parameters", f"{len(graph.parameters):,} with {labels.counted(leaves, 'number')}"],
        ["kept for backward", f"{labels.size(totals.saved_bytes)} in {tensors}"],
    ]
    loss = graph.context.get("loss")
    if isinstance(loss, (int, float)):
        facts.append(["loss", f"{float(loss):.6g}"])
    return {
        "facts": facts,
        "note": plan.drawn.note,
        "recorded": recorded,
        "verdict": labels.verdict(graph),
        "exact": graph.replay is not None and graph.replay.exact,
        "notes": [labels.visible(n) for n in graph.replay.notes] if graph.replay else [],
        "unreadable": [labels.visible(sentence) for sentence in graph.unreadable],
        "findings": [_finding(graph, one) for one in findings[:_FINDINGS]],
        "more": max(len(findings) - _FINDINGS, 0),
    }


def _finding(graph: GradGraph, one: Diagnosis) -> dict[str, Any]:
    node = one.node if one.node is not None and 0 <= one.node < len(graph) else None
    module = getattr(one, "module", "") or (graph.nodes[node].module if node is not None else "")
    return {
        "kind": one.kind,
        "message": labels.visible(one.message),
        "advice": labels.visible(getattr(one, "advice", "") or ""),
        "module": labels.visible(module),
        "node": node,
    }
