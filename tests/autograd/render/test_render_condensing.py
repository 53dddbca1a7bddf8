"""Graphs too large to draw: what the boxes of the picture stand for, checked edge by edge."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import render_graphs

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import svg
from mnist_cli.autograd.render.condensing import Drawn, Group, condense
from mnist_cli.autograd.render.layout import layout


def wide(width: int, *, leaves: int = 1) -> GradGraph:
    """A sum of ``width`` branches, each from one of ``leaves`` parameters."""
    first = 1 + width
    nexts: list[list[int | None]] = [list(range(1, first))]
    nexts += [[first + i % leaves] for i in range(width)]
    return render_graphs.graph([*nexts, *([] for _ in range(leaves))])


def recurrent(steps: int) -> GradGraph:
    """A cell of three operations and one weight, called again and again."""
    count = 3 * steps
    nexts: list[list[int | None]] = [
        [i + 1, count] if i % 3 == 0 else [i + 1] for i in range(count)
    ]
    nexts[-1] = [count]
    paths = {i: "" if i % 3 == 2 else "net.cell" for i in range(count)}
    return render_graphs.graph([*nexts, []], module=paths)


def nested(outer: int, inner: int) -> GradGraph:
    """``outer`` modules of ``inner`` modules of four operations."""
    count = outer * inner * 4
    nexts: list[list[int | None]] = [[i + 1] for i in range(count)]
    paths = {i: f"a.{i // (inner * 4)}.{i // 4 % inner}" for i in range(count)}
    return render_graphs.graph([*nexts, []], module=paths)


LARGE = {
    "chain": (render_graphs.chain(4_000), 100),
    "wide": (wide(4_000), 101),
    "wide of many leaves": (wide(2_000, leaves=1_500), 1_000),
    "recurrent": (recurrent(1_200), 101),
    "nested": (nested(40, 30), 1_201),
    "random": (render_graphs.random_graph(3, 400), 320),
    "random without modules": (render_graphs.random_graph(4, 400, modules=False), 320),
}


@pytest.fixture(params=LARGE, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[GradGraph, Drawn, int]:
    graph, most = LARGE[request.param]
    return graph, condense(graph, 3_000 if len(graph) > 3_000 else 50), most


def test_every_node_is_in_one_box_and_there_are_few(case: tuple[GradGraph, Drawn, int]) -> None:
    graph, drawn, most = case
    inside = [node for members in drawn.members for node in members]
    assert sorted(inside) == list(range(len(graph)))
    assert len(drawn.members) == len(drawn.graph) <= most
    assert [node.id for node in drawn.graph.nodes] == list(range(len(drawn.graph)))
    assert graph.root in drawn.members[drawn.graph.root]


def test_edges_are_those_that_cross_a_border_each_with_its_norm(
    case: tuple[GradGraph, Drawn, int],
) -> None:
    graph, drawn, _ = case
    owner = {node: box for box, members in enumerate(drawn.members) for node in members}
    crossing: dict[tuple[int, int], list[float]] = defaultdict(list)
    for node, position, edge in graph.edges():
        stats = node.grad_out[position]
        if owner[node.id] != owner[edge.node]:
            assert stats is not None
            crossing[owner[node.id], owner[edge.node]].append(stats.norm)
    shown: dict[tuple[int, int], list[float]] = defaultdict(list)
    for node, position, edge in drawn.graph.edges():
        stats = node.grad_out[position]
        assert stats is not None
        shown[node.id, edge.node].append(stats.norm)
    assert shown.keys() == crossing.keys()
    for pair, norms in shown.items():
        assert np.linalg.norm(norms) == pytest.approx(np.linalg.norm(crossing[pair]))
    assert nx.is_directed_acyclic_graph(nx.DiGraph(list(shown)))


def test_a_box_of_one_node_is_that_node(case: tuple[GradGraph, Drawn, int]) -> None:
    graph, drawn, _ = case
    for box, members in zip(drawn.graph.nodes, drawn.members, strict=True):
        assert isinstance(box, Group) == (len(members) > 1)
        if not isinstance(box, Group):
            assert drawn.title(box.id) == f"#{members[0]} {graph.nodes[members[0]].name}"
            assert box.grad_in == graph.nodes[members[0]].grad_in


def test_levels_of_modules_open_as_far_as_there_is_room() -> None:
    graph = nested(40, 30)
    names = [node.name for node in condense(graph, 2_000).graph.nodes if isinstance(node, Group)]
    assert len(names) == 1_200
    assert set(names) == {f"a.{i}.{j}" for i in range(40) for j in range(30)}
    coarse = [node.name for node in condense(graph, 100).graph.nodes if isinstance(node, Group)]
    assert set(coarse) == {f"a.{i}" for i in range(40)}


def test_a_graph_that_fits_is_drawn_as_it_is() -> None:
    graph = render_graphs.random_graph(1, 200)
    drawn = condense(graph)
    assert drawn.graph is graph
    assert drawn.note == ""


def test_a_gradient_that_is_not_finite_shows_on_the_box_that_receives_it() -> None:
    graph = wide(4_000)
    bad = (render_graphs.stats(float("nan"), nan=2),)
    nodes = tuple(replace(n, grad_out=bad * len(n.next)) if n.id == 0 else n for n in graph.nodes)
    alarms = [
        box
        for box in condense(replace(graph, nodes=nodes)).graph.nodes
        if any(s is not None and not s.finite for s in box.grad_in)
    ]
    assert len(alarms) == 99, "all but the box of the root itself"


@pytest.mark.parametrize("direction", ["down", "right"])
def test_svg_of_a_large_graph_is_small_and_says_so(direction) -> None:
    graph = wide(20_000)
    text = svg.render(graph, direction=direction)
    assert len(text) < 300_000
    root = ET.fromstring(text)
    assert "20,002 nodes in 101 boxes: modules are folded" in "".join(root.itertext())
    assert len(layout(graph, direction=direction).boxes) < 210
