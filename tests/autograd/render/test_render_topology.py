from __future__ import annotations

from itertools import combinations

import networkx as nx
import pytest
import render_graphs
import torch
from torch import nn

from mnist_cli.autograd import walk
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.order import engine_order, forward_order
from mnist_cli.autograd.render import calls, topology

RANDOM = [render_graphs.random_graph(seed, 12 + 5 * seed) for seed in range(8)]


def as_networkx(graph: GradGraph) -> nx.DiGraph:
    result = nx.DiGraph()
    result.add_nodes_from(range(len(graph)))
    result.add_edges_from((node.id, edge.node) for node, _, edge in graph.edges())
    return result


def residual_loss() -> torch.Tensor:
    torch.manual_seed(1)
    layers = [nn.Linear(4, 4) for _ in range(4)]
    x = torch.randn(3, 4)
    for layer in layers:
        x = x + torch.relu(layer(x)) * x.sigmoid()
    first, second = x.split(2, dim=1)
    return (first * second).sum() + (first / (1 + second**2)).mean()


def test_engine_order_is_the_one_in_which_torch_calls_the_nodes() -> None:
    walked, called = walk(residual_loss()), list[int]()
    for number, node in enumerate(walked.nodes):
        node.register_prehook(lambda _, number=number: called.append(number))
    walked.root.backward()
    assert engine_order(walked.graph) == called


@pytest.mark.parametrize("graph", RANDOM)
def test_forward_order_puts_inputs_first_and_leaves_next_to_their_first_use(
    graph: GradGraph,
) -> None:
    place = {node: i for i, node in enumerate(forward_order(graph))}
    assert sorted(place) == list(range(len(graph)))
    assert all(place[edge.node] < place[node.id] for node, _, edge in graph.edges())
    users = topology.consumers(graph)
    for node in graph.nodes:
        if not node.next and users[node.id]:
            first = min(place[u] for u in users[node.id])
            between = [n for n, at in place.items() if place[node.id] < at < first]
            assert all(not graph.nodes[n].next for n in between)


@pytest.mark.parametrize("graph", RANDOM)
def test_dominators_are_networkx_s(graph: GradGraph) -> None:
    expected = dict(nx.immediate_dominators(as_networkx(graph), 0))
    expected[0] = None
    found = topology.dominators(graph)
    assert found == [expected.get(node) for node in range(len(graph))]


@pytest.mark.parametrize("graph", RANDOM)
def test_heights_and_depths_are_the_longest_paths(graph: GradGraph) -> None:
    picture = as_networkx(graph)
    heights, depths = topology.heights(graph), topology.depths(graph)
    for node in range(len(graph)):
        below = picture.subgraph(nx.descendants(picture, node) | {node})
        above = picture.subgraph(nx.ancestors(picture, node) | {node})
        assert heights[node] == nx.dag_longest_path_length(below)
        assert depths[node] == nx.dag_longest_path_length(above)


def test_a_cycle_is_cut_and_every_node_kept() -> None:
    looped = render_graphs.graph([[1], [2], [1, 3], []])
    for order in (engine_order(looped), forward_order(looped)):
        assert sorted(order) == [0, 1, 2, 3]


def test_one_module_used_twice_makes_two_calls() -> None:
    graph = render_graphs.graph(
        [[1], [2], [3], [4], [5], [6], []],
        module={0: "", 1: "relu", 2: "relu", 3: "fc", 4: "relu", 5: "relu"},
    )
    found = calls.grouping(graph)
    assert [(c.path, c.number, c.of) for c in found.calls if c.path == "relu"] == [
        ("relu", 1, 2),
        ("relu", 2, 2),
    ]
    assert found.call_of[1] == found.call_of[2] != found.call_of[4] == found.call_of[5]
    assert found.call_of[3] is None, "a call of one node needs no frame"


@pytest.mark.parametrize("graph", RANDOM)
def test_calls_nest_as_modules_do_and_never_close_a_cycle(graph: GradGraph) -> None:
    found = calls.grouping(graph)
    for node in graph.nodes:
        paths = [found.calls[c].path for c in found.ancestors(found.call_of[node.id])[:-1]]
        if node.next:
            assert all(f"{node.module}.".startswith(f"{path}.") for path in paths)
        assert all(outer in inner for inner, outer in combinations(paths, 2))
    for depth in range(1 + max((c.depth for c in found.calls), default=0)):
        grouped = nx.DiGraph()
        for user, _, edge in graph.edges():
            ends = []
            for end in (edge.node, user.id):
                chain = [c for c in found.ancestors(found.call_of[end]) if c is not None]
                shown = [c for c in chain if found.calls[c].depth == depth]
                ends.append(("call", shown[0]) if shown else ("node", end))
            if ends[0] != ends[1]:
                grouped.add_edge(*ends)
        assert nx.is_directed_acyclic_graph(grouped)
