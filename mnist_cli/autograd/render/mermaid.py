"""A gradient graph as a Mermaid flowchart, with module calls as subgraphs.

In names, only letters, digits and harmless characters stay; others become numeric entities:
Mermaid reads Markdown, HTML and its own keywords within quoted labels.
"""

from __future__ import annotations

from collections.abc import Iterator

from mnist_cli.autograd.graph import GradGraph, Node, joint_norm
from mnist_cli.autograd.render import calls, labels, style
from mnist_cli.autograd.render.picture import BACKWARD, Direction

# Mermaid's own limits; only the page around a chart can raise them.
_MOST_EDGES = 500
_MOST_TEXT = 50_000
_FRAME = "fill:{frame}12,stroke:{frame-edge},color:{muted}".format(**style.LIGHT)
_PLAIN = frozenset(" .,:_+-×·")


def escaped(text: object) -> str:
    """Text for a quoted label.

    A backslash becomes U+2216, which looks like it. Mermaid breaks the line at a backslash
    followed by n even if the backslash is written as an entity.
    """
    shown = labels.visible(text).replace("\\", "\N{SET MINUS}")
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in shown)


def render(graph: GradGraph, *, direction: Direction = "down") -> str:
    """A flowchart whose edges point in the direction of the gradient.

    Args:
        graph: the graph.
        direction: "down" or "right", the direction of the forward pass.
    """
    scale = style.scale(graph)
    grouping = calls.grouping(graph)
    lines = [f"flowchart {BACKWARD[direction]}", *_members(graph, grouping)]
    levels: dict[str, list[int]] = {}
    for number, (node, position, edge) in enumerate(graph.edges()):
        label = f'|":{edge.input_nr}"|' if edge.input_nr else ""
        lines.append(f"  n{node.id} -->{label} n{edge.node}")
        level = scale.level(labels.edge_norm(node, position))
        levels.setdefault(level, []).append(number)
    lines += _styles(levels)
    lines += [f"  style m{i} {_FRAME}" for i in range(len(grouping.calls))]
    text = "\n".join(lines) + "\n"
    return "".join(_notes(graph, text)) + text


def _notes(graph: GradGraph, text: str) -> Iterator[str]:
    edges = graph.totals().edges
    if edges > _MOST_EDGES or len(text) > _MOST_TEXT:
        yield (
            f"%% {labels.counted(edges, 'edge')}, {labels.counted(len(text), 'character')}: "
            "raise maxEdges and maxTextSize in mermaid.initialize() to draw this chart\n"
        )


def _members(graph: GradGraph, grouping: calls.Grouping) -> Iterator[str]:
    for what, number, depth in grouping.events():
        margin = "  " * (depth + 1)
        if what == "open":
            yield f'{margin}subgraph m{number}["{escaped(grouping.calls[number].title)}"]'
        elif what == "close":
            yield f"{margin}end"
        else:
            yield margin + _node(graph, graph.nodes[number])


def _node(graph: GradGraph, node: Node) -> str:
    norm = joint_norm(node.grad_in)
    name = node.parameter if node.parameter is not None else node.name
    figures = [labels.outputs(node.outputs), "" if norm is None else f"norm {labels.number(norm)}"]
    lines = [f"{name}", f"#{node.id}", *(f for f in figures if f)]
    label = "<br/>".join(escaped(line) for line in lines)
    left, right = ("(", ")") if labels.is_leaf(node) else ("[", "]")
    kind = "root" if node.id == graph.root else "leaf" if labels.is_leaf(node) else "op"
    return f'n{node.id}{left}"{label}"{right}:::{kind}'


def _styles(levels: dict[str, list[int]]) -> Iterator[str]:
    light = style.LIGHT
    yield f"  classDef op fill:#fff,stroke:{light['operation']},color:{light['ink']}"
    yield (
        f"  classDef leaf fill:{light['parameter']},stroke:{light['parameter-edge']},"
        f"color:{light['parameter-ink']}"
    )
    yield f"  classDef root fill:#fff,stroke:{light['root']},stroke-width:3px,color:{light['ink']}"
    for level, numbers in sorted(levels.items()):
        members = ",".join(map(str, numbers))
        if level == "bad":
            yield f"  linkStyle {members} stroke:{light['bad']},stroke-width:3px"
        elif level == "zero":
            yield f"  linkStyle {members} stroke:{light['none']},stroke-dasharray:1 4"
        elif level != "unknown":
            width = 1.2 + 0.4 * int(level[1:])
            yield f"  linkStyle {members} stroke:{light[level]},stroke-width:{width:.1f}px"
