"""Finding, paths, parts and folds, on graphs built by hand and on real ones."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import pytest
import render_graphs
import torch
from autograd_zoo import ConvNet, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from render_graphs import stats
from torch import nn

from mnist_cli.autograd import dumps, loads, trace_modules, walk
from mnist_cli.autograd.folding import fold
from mnist_cli.autograd.graph import Edge, GradGraph, Parameter, Saved
from mnist_cli.autograd.query import find_node, find_nodes, path_to, select
from mnist_cli.errors import UsageError

OPERATIONS = ("Sum", "Add", "Tanh", "Sin", "Exp", "Mul")
MODULES_OF = ("", "block", "block.left", "block.right", "block.left", "stem", "stem", "stem")


def diamond() -> GradGraph:
    """loss → add → (left block | right) → stem; the right way is one node, the left two."""
    graph = render_graphs.graph(
        [[1], [2, 3], [4], [5], [5], [6, 7], [], []],
        name={number: f"{name}Backward0" for number, name in enumerate(OPERATIONS)},
        module=dict(enumerate(MODULES_OF)),
        parameter={6: "stem.weight", 7: "stem.bias"},
        saved={4: (Saved("result", (1,), "float32", 4, 0),)},
        grad_in={number: (stats(float(number + 1)),) for number in range(8)},
    )
    return replace(graph, parameters=(*graph.parameters, Parameter("head.weight", None, (1,))))


# ------------------------------------------------------------------ finding


@pytest.mark.parametrize(
    ("word", "number"),
    [
        *(("3", 3), ("TanhBackward0", 2), ("tanh", 2), ("stem.bias", 7), ("block.right", 3)),
        ("block.left", 2),
    ],
)
def test_a_node_is_found_by_id_name_parameter_or_module(word: str, number: int) -> None:
    assert find_node(diamond(), word).id == number


def test_a_name_of_several_offers_their_ids() -> None:
    with pytest.raises(UsageError, match="2 nodes are called 'AccumulateGrad'") as raised:
        find_node(diamond(), "AccumulateGrad")
    assert "6 stem.weight (stem), 7 stem.bias (stem)" in raised.value.hint
    assert [n.id for n in find_nodes(diamond(), "AccumulateGrad")] == [6, 7]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("TanBackward0", "TanhBackward0"),
        ("stem.wieght", "stem.weight"),
        ("block.lef", "block.left"),
        ("Ta", "TanhBackward0"),  # a part of the name, though most of it is missing
    ],
)
def test_a_miss_offers_the_nearest(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match="no node") as raised:
        find_node(diamond(), word)
    assert hint in raised.value.hint


def test_an_id_out_of_range() -> None:
    with pytest.raises(UsageError) as raised:
        find_node(diamond(), "8")
    assert raised.value.hint == "Ids run from 0 to 7."


# ------------------------------------------------------------------ a path


def test_the_shortest_path_and_how_many_there_are() -> None:
    path = path_to(diamond(), "stem.weight")
    assert [step.node.id for step in path.steps] == [0, 1, 3, 5, 6]
    assert [step.grad.norm for step in path.steps if step.grad] == [1.0, 2.0, 4.0, 6.0, 7.0]
    assert [step.position for step in path.steps] == [0, 1, 0, 0, None]
    assert path.routes == 2


def test_a_path_to_nowhere() -> None:
    with pytest.raises(UsageError, match=r"no path leads from the loss to 'head\.weight'"):
        path_to(diamond(), "head.weight")
    with pytest.raises(UsageError) as raised:
        path_to(diamond(), "stem.weigth")
    assert "stem.weight" in raised.value.hint


def test_a_path_through_many_residual_blocks_counts_every_route() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(70):
        y = y + y.sin()
    path = path_to(walk(y.sum(), {"x": x}).graph, "x")
    assert path.routes == 2**70
    assert len(path.steps) == 1 + 70 + 1


# ------------------------------------------------------------------ a part


def test_one_module_and_what_is_below_it() -> None:
    part = select(diamond(), "block")
    assert [n.module for n in part.nodes] == ["block", "block.left", "block.right", "block.left"]
    assert part.nodes[0].next == (Edge(1, 0), Edge(2, 0))
    assert part.nodes[2].next == (None,)  # leads out, to the stem
    assert part.parameters == ()
    assert loads(dumps(part)) == part
    assert [p.name for p in select(diamond(), "stem").parameters] == ["stem.weight", "stem.bias"]


def test_a_prefix_ends_at_a_dot() -> None:
    with pytest.raises(UsageError) as raised:
        select(diamond(), "bloc")
    assert "block" in raised.value.hint


# ------------------------------------------------------------------ folding


def test_a_module_becomes_one_node() -> None:
    folded = fold(diamond(), depth=1)
    assert [n.name for n in folded.nodes] == ["SumBackward0", "block", "stem"]
    total, block, stem = folded.nodes
    assert total.next == (Edge(1, 0),)
    assert block.next == (Edge(2, 0), Edge(2, 0))
    assert block.attributes["operations"] == [
        "AddBackward0",
        "TanhBackward0",
        "SinBackward0",
        "ExpBackward0",
    ]
    assert block.grad_in == (stats(2.0),)
    assert [s.slot for s in block.saved] == ["4.result"]
    assert stem.attributes == {
        "nodes": 3,
        "operations": ["MulBackward0"],
        "parameters": ["stem.weight", "stem.bias"],
    }
    assert [p.node for p in folded.parameters] == [2, 2, None]
    assert loads(dumps(folded)) == folded


def test_folding_at_a_deeper_level() -> None:
    operations = ["SumBackward0", "AddBackward0", "TanhBackward0", "SinBackward0", "ExpBackward0"]
    assert [n.name for n in fold(diamond(), depth=2).nodes] == [*operations, "stem"]


def test_a_real_network_keeps_its_totals() -> None:
    torch.manual_seed(0)
    graph = recorded(ConvNet(), torch.randn(2, 1, 8, 8)).graph
    folded = fold(graph, depth=1)
    names = [n.name for n in folded.nodes]
    for module in ("fc", "norm", "conv"):
        assert names.count(module) == 1
    assert folded.totals().saved_bytes == graph.totals().saved_bytes
    assert [p.grad for p in folded.parameters] == [p.grad for p in graph.parameters]
    assert folded.nodes[folded.root].grad_in == graph.nodes[graph.root].grad_in


def test_a_module_called_twice_makes_no_cycle() -> None:
    shared = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    model = nn.ModuleDict({"shared": shared, "between": nn.Linear(3, 3)})
    with trace_modules(model) as modules:
        x = torch.ones(2, 3)
        loss = shared(model["between"](shared(x))).sum()
    folded = fold(walk(loss, model, modules).graph, depth=1)
    assert [n.name for n in folded.nodes].count("shared") == 2
    alone = {n.parameter for n in folded.nodes if n.parameter}
    assert alone == {"shared.0.weight", "shared.0.bias"}
    assert acyclic(folded)


def acyclic(graph: GradGraph) -> bool:
    edges = [(node.id, edge.node) for node, _, edge in graph.edges()]
    return bool(nx.is_directed_acyclic_graph(nx.DiGraph(edges)))


MODULES = st.sampled_from(["", "a", "a.x", "a.y", "b", "b.x.deep"])


@settings(deadline=None)
@given(
    st.lists(st.tuples(MODULES, st.sets(st.integers(1, 6), max_size=3)), min_size=1, max_size=14)
)
def test_any_fold_of_any_graph_is_a_graph(rows: list[tuple[str, set[int]]]) -> None:
    count = len(rows)
    nexts: list[list[int | None]] = []
    for number, (_, steps) in enumerate(rows):
        targets = {number + step for step in steps if number + step < count}
        if number + 1 < count:
            targets.add(number + 1)  # so that every node is reached
        nexts.append(sorted(targets))
    modules = {number: module for number, (module, _) in enumerate(rows)}
    graph = render_graphs.graph(nexts, module=modules, parameter={count - 1: None})
    for depth in (1, 2):
        folded = fold(graph, depth=depth)
        assert acyclic(folded)
        assert loads(dumps(folded)) == folded
        represented = sum(n.attributes.get("nodes", 1) for n in folded.nodes)
        assert represented == count
