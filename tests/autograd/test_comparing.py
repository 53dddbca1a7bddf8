"""Two graphs aligned: equal ones, disturbed ones, and ones with nodes that the other lacks."""

from __future__ import annotations

import difflib
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import ConvNet
from torch import nn

from mnist_cli.autograd import UsageError, aligning, record, trace_modules, walk
from mnist_cli.autograd.comparing import compare
from mnist_cli.autograd.document import dumps, loads
from mnist_cli.autograd.graph import GradGraph


def graph_of(model: nn.Module, *, bf16: bool = False) -> GradGraph:
    torch.manual_seed(3)
    images = torch.randn(4, 1, 8, 8)
    with trace_modules(model) as modules, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = F.cross_entropy(model(images), torch.tensor([0, 1, 2, 3]))
    return record(walk(loss, model, modules)).graph


def network(seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet()


def test_a_graph_equals_itself_read_back() -> None:
    graph = graph_of(network())
    found = compare(graph, loads(dumps(graph)))
    assert found.same
    assert len(found.nodes) == len(graph)
    assert {one.difference for one in found.nodes} == {0.0}
    assert found.structure == ()
    for tolerance in (-1.0, math.nan):
        with pytest.raises(UsageError, match="the tolerance is"):
            compare(graph, graph, tolerance)


def test_the_first_node_that_differs_is_named() -> None:
    model = network()
    graph = graph_of(model)
    at = next(n.id for n in graph.nodes if n.name.startswith("NativeBatchNorm"))
    node = graph.nodes[at]
    louder = replace(node.grad_in[0], norm=node.grad_in[0].norm * 1.25)
    nodes = [replace(n, grad_in=(louder,)) if n.id == at else n for n in graph.nodes]
    found = compare(graph, replace(graph, nodes=tuple(nodes)), tolerance=0.01)
    assert found.first is not None
    assert (found.first.first, found.first.module, found.first.figure) == (at, "norm", "norm")
    assert math.isclose(found.first.difference, 0.2)
    quiet = compare(graph, replace(graph, nodes=tuple(nodes)), tolerance=0.25)
    assert quiet.first is None


def test_differences_come_in_the_order_of_backward() -> None:
    found = compare(graph_of(network(0)), graph_of(network(1)), tolerance=1e-6)
    names = [one.name for one in found.nodes]
    assert names[0] == "NllLossBackward0"
    assert names.index("AddmmBackward0") < names.index("ConvolutionBackward0")
    assert found.first is not None
    assert found.first.name != "NllLossBackward0"
    assert all(one.difference > 0 for one in found.parameters)


def test_casts_of_another_precision_do_not_disturb_the_alignment() -> None:
    fp32, bf16 = graph_of(network()), graph_of(network(), bf16=True)
    found = compare(fp32, bf16, tolerance=0.05)
    aligned = {one.name for one in found.nodes}
    assert {n.name for n in fp32.nodes} - {"AccumulateGrad"} <= aligned
    assert any("only in the second" in s and "ToCopyBackward0" in s for s in found.structure)
    assert not any("only in the first" in said for said in found.structure)
    by_name = {one.name: one for one in found.parameters}
    assert by_name["fc.bias"].difference < 0.1
    assert by_name["conv.weight"].difference > 0


@pytest.mark.parametrize(
    ("steps", "act", "matched", "given"),
    [(51, torch.tanh, 201, 0), (57, torch.sigmoid, 150, 1000)],
    ids=["longer at the end", "another operation in each step"],
)
def test_loops_are_aligned_in_linear_time(
    monkeypatch: pytest.MonkeyPatch, steps: int, act: Any, matched: int, given: int
) -> None:
    """difflib takes cubic time for repeated names, so it gets neither shared ends nor whole loops."""
    matcher, sizes = difflib.SequenceMatcher, []

    def counting(*given: Any, **options: Any) -> Any:
        sizes.extend(map(len, given[1:]))
        return matcher(*given, **options)

    def unrolled(steps: int, act: Any) -> GradGraph:
        cell, hidden = nn.Linear(4, 4), torch.zeros(1, 4)
        for _ in range(steps):
            hidden = act(cell(hidden)) * 0.9
        return walk(hidden.sum(), cell).graph

    monkeypatch.setattr(difflib, "SequenceMatcher", counting)
    monkeypatch.setattr(aligning, "WINDOW", 40)
    found = compare(unrolled(50, torch.tanh), unrolled(steps, act))
    pairs = len([one for one in found.nodes if "Accumulate" not in one.name])
    assert pairs >= matched
    assert max(sizes, default=0) <= 40
    assert sum(sizes) <= given


def test_a_long_stretch_of_one_graph_alone_is_skipped() -> None:
    keys = list("abcdefgh")
    others = [*"abcd", *["x"] * 2 * aligning.WINDOW, *"efhg"]
    paired = [keys[i] for i, j in aligning.aligned(keys, others) if keys[i] == others[j]]
    assert "".join(paired) in {"abcdefg", "abcdefh"}


def test_a_long_stretch_inside_a_loop_is_passed_over() -> None:
    loop = [*"abc"] * 50
    others = ["y", *loop, *["x"] * 2 * aligning.WINDOW, *loop, "z"]
    assert len(list(aligning.aligned(loop * 2, others))) == len(loop * 2)


def test_another_kernel_in_the_same_place_is_aligned() -> None:
    class Act(nn.Module):
        def __init__(self, act: nn.Module) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(64, 5), act

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.act(self.fc(images.flatten(1)))

    torch.manual_seed(0)
    relu = Act(nn.ReLU())
    tanh = Act(nn.Tanh())
    tanh.load_state_dict(relu.state_dict())
    found = compare(graph_of(relu), graph_of(tanh))
    assert any("ReluBackward0 in act, is TanhBackward0 in the second" in s for s in found.structure)
    assert len(found.nodes) == len(graph_of(relu))


def test_nothing_in_common() -> None:
    x, y = (torch.ones(2, requires_grad=True) for _ in range(2))
    ours = walk(x.sin().sum(), {"x": x}).graph
    theirs = walk((y * y).exp().mean(), {"y": y}).graph
    found = compare(ours, theirs)
    assert not found.same
    assert "parameter only in the first: x" in found.structure
    assert "parameter only in the second: y" in found.structure


def test_a_gradient_at_one_side_alone_or_not_finite_differs_without_bound() -> None:
    graph = graph_of(network())
    bare = replace(graph.parameters[0], grad=None)
    one_sided = compare(graph, replace(graph, parameters=(bare, *graph.parameters[1:])))
    assert (one_sided.parameters[0].difference, one_sided.parameters[0].figure) == (
        math.inf,
        "presence",
    )
    bad = replace(graph.parameters[0].grad, norm=math.nan, nan=1)
    broken = replace(graph.parameters[0], grad=bad)
    found = compare(graph, replace(graph, parameters=(broken, *graph.parameters[1:])))
    assert found.parameters[0].difference == math.inf
    same = replace(graph, parameters=(broken, *graph.parameters[1:]))
    assert compare(same, same).parameters[0].difference == 0.0


def test_an_edge_that_leads_elsewhere_is_a_difference_of_structure() -> None:
    x, y = (torch.ones(2, requires_grad=True) for _ in range(2))
    a = walk((x / y).sum(), {"x": x, "y": y}).graph
    b = walk((y / x).sum(), {"x": x, "y": y}).graph
    assert any("goes to another node" in said for said in compare(a, b).structure)


def test_graphs_that_were_not_recorded_are_compared_by_shape() -> None:
    x = torch.ones(2, requires_grad=True)
    graph = walk(x.sin().sum(), {"x": x}).graph
    assert compare(graph, graph).same


def test_nodes_that_one_side_did_not_record_are_not_judged() -> None:
    """A walk knows no gradient of a node; with another walk's shapes it is still the same graph."""
    recorded = graph_of(network())
    bare = replace(recorded, nodes=tuple(replace(node, grad_in=()) for node in recorded.nodes))
    for found in (compare(recorded, bare), compare(bare, recorded)):
        assert {node.difference for node in found.nodes} == {0.0}
        assert found.same
