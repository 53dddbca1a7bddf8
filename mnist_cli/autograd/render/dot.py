"""A gradient graph as Graphviz DOT text, with module calls as clusters.

Only quoted strings are written, and every name is escaped: DOT gives a meaning to quotes,
backslashes and HTML entities within them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mnist_cli.autograd.graph import GradGraph, Node, joint_norm
from mnist_cli.autograd.render import calls, labels, style
from mnist_cli.autograd.render.picture import BACKWARD, Direction

_HEAD = """digraph grad {{
  graph [rankdir={rankdir}, fontname="Helvetica", fontsize=11, labeljust=l, style="rounded,filled", \
color="{frame-edge}", fillcolor="{frame}12", nodesep=0.3, ranksep=0.35];
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10, \
color="{operation}", fillcolor="{card}", margin="0.14,0.07"];
  edge [fontname="Helvetica", fontsize=8, color="{none}", arrowsize=0.6];"""
_LEAF = f'color="{style.LIGHT["parameter-edge"]}", fillcolor="{style.LIGHT["parameter"]}"'
_ROOT = f'color="{style.LIGHT["root"]}", penwidth=2'


def quoted(*lines: object) -> str:
    """A DOT string of these lines, whatever is in them."""
    return '"' + "\\n".join(_escaped(labels.visible(line)) for line in lines if line != "") + '"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def render(graph: GradGraph, *, direction: Direction = "down") -> str:
    """DOT text of the graph; its edges point in the direction of the gradient.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
    """
    scale = style.scale(graph)
    grouping = calls.grouping(graph)
    lines = [_HEAD.format(rankdir=BACKWARD[direction], **style.LIGHT)]
    lines.append(f"  label={quoted(' · '.join(labels.counts(graph.totals())))};")
    lines += _members(graph, grouping)
    for node, position, edge in graph.edges():
        norm = labels.edge_norm(node, position)
        attributes = [f"tooltip={quoted(f'input {position} of #{node.id}', _norm(norm))}"]
        attributes += _pen(scale.level(norm))
        if edge.input_nr:
            attributes.append(f"headlabel={quoted(f':{edge.input_nr}')}")
        lines.append(f"  n{node.id} -> n{edge.node} [{', '.join(attributes)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _members(graph: GradGraph, grouping: calls.Grouping) -> Iterator[str]:
    for what, number, depth in grouping.events():
        margin = "  " * (depth + 1)
        if what == "open":
            title = quoted(grouping.calls[number].title)
            yield f"{margin}subgraph cluster_{number} {{\n{margin}  label={title};"
        elif what == "close":
            yield f"{margin}}}"
        else:
            yield f"{margin}n{number} [{', '.join(_node(graph, graph.nodes[number]))}];"


def _node(graph: GradGraph, node: Node) -> list[str]:
    figures = [labels.outputs(node.outputs), _norm(joint_norm(node.grad_in))]
    kept = sum(saved.bytes for saved in node.saved)
    if kept:
        figures.append(f"saves {labels.size(kept)}")
    name = node.parameter if node.parameter is not None else node.name
    attributes = [f"label={quoted(name, '  '.join(f for f in figures if f), f'#{node.id}')}"]
    attributes.append(f"tooltip={quoted(node.name, node.module)}")
    if labels.is_leaf(node):
        attributes.append(_LEAF)
    if node.id == graph.root:
        attributes.append(_ROOT)
    return attributes


def _norm(norm: float | None) -> str:
    return "" if norm is None else f"norm {labels.number(norm)}"


def _pen(level: str) -> list[str]:
    """Colour and width of an edge as in the other pictures."""
    if level == "bad":
        return [f'color="{style.LIGHT["bad"]}"', "style=dashed", "penwidth=2"]
    if level == "zero":
        return ["style=dotted"]
    if level == "unknown":
        return []
    return [f'color="{style.LIGHT[level]}"', f"penwidth={1 + 0.35 * int(level[1:]):.2f}"]
