"""Shows a report where it is made: short text for a terminal, and HTML for a notebook.

The HTML has no script, no style sheet and no ids, so that two reports in one notebook do not
disturb each other. The picture is a separate image. It takes the notebook's colours. The size is
bounded for graphs of any size.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from mnist_cli.autograd.brief import Brief, shortened
from mnist_cli.autograd.diagnosing import Diagnosis, ParameterRow, advised
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import labels, svg, tree
from mnist_cli.autograd.render.condensing import condense
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.pen import escape

PICTURED = 60
"""Nodes above which the picture in a notebook is folded."""
LINES = 40
"""Lines of the tree in a terminal."""
FINDINGS = 8
ROWS = 40
LONGEST = 300
"""Characters of a sentence or name; a name may come from anywhere."""


class Findings(Brief[Diagnosis]):
    """Findings, the gravest first; shown as a list."""

    def __repr__(self) -> str:
        return "\n".join(_finding_lines(self))

    def _repr_html_(self) -> str:
        return _findings_html(self)


class ParameterTable(Brief[ParameterRow]):
    """Rows of parameters; shown as a table."""

    def __repr__(self) -> str:
        rows = [_HEADINGS, *map(_cells, self[:ROWS])]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *_more(len(self) - ROWS, "parameter")])

    def _repr_html_(self) -> str:
        return _table(self)


def text(graph: GradGraph, findings: Sequence[Diagnosis], notes: Sequence[str] = ()) -> str:
    """The tree, the findings and the notes, in at most some 60 lines."""
    drawn = condense(_narrow(graph, LINES), LINES)
    small = drawn.graph.with_context(shown=drawn.note) if drawn.note else drawn.graph
    lines = [
        "".join(span.text for span in line).rstrip()
        for line in islice(tree.lines(small), LINES + 9)
    ]
    if drawn.note:
        lines[0] = " · ".join(["backward graph", *labels.counts(graph.totals())])
    cut = [] if len(lines) < LINES + 9 else ["…"]
    return "\n".join([*lines, *cut, "", *_finding_lines(findings), *notes])


def _finding_lines(findings: Sequence[Diagnosis]) -> list[str]:
    if not findings:
        return ["gradients look healthy"]
    lines = []
    for one, advice in advised(findings[:FINDINGS]):
        lines.append(shortened(f"{one.kind}: {one.message}", LONGEST))
        lines += [f"  {shortened(advice, LONGEST)}"] if advice else []
    return [*lines, *_more(len(findings) - FINDINGS, "finding")]


def picture(graph: GradGraph) -> str:
    """An SVG document of at most :data:`PICTURED` nodes; a larger graph is folded."""
    narrow = _narrow(graph, PICTURED)
    return svg.render(narrow, plan=layout(narrow, most=PICTURED))


def _narrow(graph: GradGraph, most: int) -> GradGraph:
    """The same small graph with at most ``most`` edges at each node; a larger one is condensed."""
    if len(graph) > most or all(len(node.next) <= most for node in graph.nodes):
        return graph
    nodes = [
        replace(node, **{name: getattr(node, name)[:most] for name in ("next", "grad_out")})
        for node in graph.nodes
    ]
    shown = f"at most {most} edges of each node"
    return replace(graph, nodes=tuple(nodes)).with_context(shown=shown)


def html(
    drawn: str,
    findings: Sequence[Diagnosis],
    rows: Sequence[ParameterRow],
    notes: Sequence[str] = (),
) -> str:
    """A picture that is drawn, the findings in words and the table of parameters."""
    data = base64.b64encode(drawn.encode()).decode()
    return (
        f'<div style="{_BOX}">'
        f'<div style="{_SCROLL}"><img alt="the backward graph" style="max-width:none;display:block" '
        f'src="data:image/svg+xml;base64,{data}"/></div>'
        f"{_findings_html(findings)}"
        f"{''.join(f'<p>{escape(shortened(note, LONGEST))}</p>' for note in notes)}"
        f"<details><summary>{labels.counted(len(rows), 'parameter')}</summary>"
        f"{_table(rows)}</details></div>"
    )


_LINE = "1px solid rgba(128,128,128,.4)"
_BOX = "font-size:13px;line-height:1.45"
_SCROLL = f"max-height:560px;overflow:auto;border:{_LINE};border-radius:6px"
_CELL = "text-align:left;padding:2px 12px 2px 0;white-space:nowrap"
_HEADINGS = ("parameter", "shape", "gradient norm", "weight norm", "gradient / weight", "zeros")


def _findings_html(findings: Sequence[Diagnosis]) -> str:
    if not findings:
        return "<p>Gradients look healthy.</p>"
    rows = [
        f"<li><b>{escape(one.kind)}</b> {escape(shortened(one.message, LONGEST))} "
        f"<i>{escape(shortened(advice, LONGEST))}</i></li>"
        for one, advice in advised(findings[:FINDINGS])
    ]
    rows += [f"<li>{line}</li>" for line in _more(len(findings) - FINDINGS, "finding")]
    return f"<ul>{''.join(rows)}</ul>"


def _table(rows: Sequence[ParameterRow]) -> str:
    body = "".join(_row(_cells(row), "td") for row in rows[:ROWS])
    more = "".join(f"<p>{line}</p>" for line in _more(len(rows) - ROWS, "parameter"))
    return (
        f'<div style="overflow:auto"><table style="border-collapse:collapse">'
        f"{_row(_HEADINGS, 'th')}{body}</table></div>{more}"
    )


def _row(cells: Iterable[str], kind: str) -> str:
    inner = "".join(f'<{kind} style="{_CELL}">{escape(cell)}</{kind}>' for cell in cells)
    return f"<tr>{inner}</tr>"


def _cells(row: ParameterRow) -> tuple[str, ...]:
    norms = ["-" if n is None else labels.number(n) for n in (row.grad_norm, row.weight_norm)]
    ratio = "-" if row.ratio is None else labels.number(row.ratio)
    zeros = "-" if row.dead is None else f"{row.dead:.1%}"
    return shortened(row.name, 60), labels.shape(row.shape), *norms, ratio, zeros


def _more(count: int, noun: str) -> list[str]:
    return [f"and {labels.counted(count, f'more {noun}')}"] if count > 0 else []
