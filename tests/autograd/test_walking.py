"""The walk against graphs known by construction, and against a recursive walk of plain torch."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
import torch
import torch.utils.checkpoint as checkpointing
from autograd_zoo import ZOO, ConvNet, Scale, leaf, recorded
from torch import nn

from mnist_cli.autograd import dumps, record, replay, trace_modules, walk
from mnist_cli.autograd.graph import Edge
from mnist_cli.errors import UsageError


def by_hand(root: torch.Tensor) -> tuple[Counter[str], int]:
    """Names of all nodes and the number of edges, by recursion over plain ``next_functions``."""
    seen: dict[object, None] = {}
    edges = 0

    def visit(node: object) -> None:
        nonlocal edges
        if node in seen:
            return
        seen[node] = None
        for target, _ in node.next_functions:
            if target is not None:
                edges += 1
                visit(target)

    visit(root.grad_fn)
    return Counter(node.name().split("::")[-1] for node in seen), edges


@pytest.mark.parametrize("kind", [kind for kind in ZOO if kind != "long_chain"])
def test_every_node_once_and_every_edge(kind: str) -> None:
    case = ZOO[kind]()
    names, edges = by_hand(case.root)
    graph = walk(case.root, case.names).graph
    assert Counter(node.name for node in graph.nodes) == names
    assert graph.totals().edges == edges
    assert [node.id for node in graph.nodes] == list(range(len(graph)))


def test_a_graph_known_by_heart() -> None:
    x, w = leaf(2, 3), leaf(3)
    graph = walk((x * w).sum(), {"x": x, "w": w}).graph
    total, product, gather_x, gather_w = graph.nodes
    assert [n.name for n in graph.nodes] == ["SumBackward0", "MulBackward0"] + [
        "AccumulateGrad"
    ] * 2
    assert total.next == (Edge(1, 0),)
    assert product.next == (Edge(2, 0), Edge(3, 0))
    assert (total.sequence, product.sequence, gather_x.sequence) == (1, 0, None)
    assert (total.outputs[0].shape, product.outputs[0].shape) == ((), (2, 3))
    assert (gather_x.parameter, gather_w.parameter) == ("x", "w")
    assert gather_w.outputs[0].shape == (3,)
    assert [(p.name, p.node, p.shape) for p in graph.parameters] == [
        ("x", 2, (2, 3)),
        ("w", 3, (3,)),
    ]


def test_an_input_without_gradient_is_kept_as_none() -> None:
    x = leaf(2)
    graph = walk((torch.ones(2) * x).sum()).graph
    assert graph.nodes[1].next == (None, Edge(2, 0))
    assert graph.nodes[2].parameter == "leaf@2"


def test_saved_tensors_and_what_they_share() -> None:
    x, w = leaf(4, 8), leaf(8, 2)
    view = x[:2]
    graph = walk((view @ w).sum() + (view * view).sum(), {"x": x, "w": w}).graph
    saved = {(n.name, s.slot): s for n in graph.nodes for s in n.saved}
    in_matmul, in_product = saved["MmBackward0", "self"], saved["MulBackward0", "self"]
    assert in_matmul.shape == (2, 8)
    assert in_matmul.bytes == 4 * 8 * 4  # the whole of x is kept alive by its view
    assert in_matmul.storage == in_product.storage
    assert saved["MmBackward0", "mat2"].storage != in_matmul.storage
    assert graph.totals().saved_bytes == (4 * 8 + 8 * 2) * 4


def test_plain_values_are_attributes() -> None:
    x = leaf(2, 3)
    node = walk(x.log_softmax(-1).sum(dim=-1, keepdim=True)).graph.nodes[0]
    assert node.attributes["dim"] == [-1]
    assert node.attributes["keepdim"] is True
    assert node.attributes["self_sym_sizes"] == [2, 3]


def test_what_a_custom_function_keeps() -> None:
    a, b = leaf(3), leaf(3)
    node = walk(Scale.apply(a, 7, b)[0].sum()).graph.nodes[1]
    assert [s.slot for s in node.saved] == ["saved_tensors[0]", "saved_tensors[1]"]
    assert node.attributes["ctx.factor"] == 7
    assert len(node.outputs) == 2


def test_checkpointed_tensors_are_reported_and_not_recomputed() -> None:
    calls = []

    def segment(t: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return t.sin().exp()

    x = leaf(3)
    y = checkpointing.checkpoint(segment, x, use_reentrant=False)
    graph = walk(y.sum()).graph
    assert len(calls) == 1
    assert graph.totals().saved_tensors == 0
    assert len(graph.unreadable) == 2
    assert all("recomputed by its checkpoint" in note for note in graph.unreadable)


def test_tensors_on_another_device_are_found() -> None:
    x = leaf(3)
    with torch.autograd.graph.save_on_cpu():
        y = x.sin().sum()
    (saved,) = walk(y).graph.nodes[1].saved
    assert (saved.slot, saved.shape) == ("self", (3,))


def test_saved_tensors_of_a_copy_into_a_view_are_read_or_reported() -> None:
    x = leaf(2, 3)
    base = x * 1
    base[0].mul_(torch.randn(3))
    graph = walk(base.sum(), {"x": x}).graph
    node = next(n for n in graph.nodes if n.name == "CopySlices")
    slots = [s.slot for s in node.saved]
    hidden = [note for note in graph.unreadable if note.startswith("CopySlices")]
    assert (slots, len(hidden)) in ((["MulBackward0.other"], 0), ([], 1))


def test_modules_by_the_sequence_counter() -> None:
    graph = recorded(ConvNet(), torch.randn(2, 1, 8, 8)).graph

    def of(name: str) -> list[str]:
        return [n.module for n in graph.nodes if n.name == name]

    assert of("ConvolutionBackward0") == ["conv"]
    assert of("NativeBatchNormBackward0") == ["norm"]
    assert of("ReluBackward0") == ["act"]
    assert of("AddmmBackward0") == ["fc"]
    assert of("MaxPool2DWithIndicesBackward0") == [""]  # the model's own forward
    assert of("MeanBackward0") == [""]
    owners = {n.parameter: n.module for n in graph.nodes if n.parameter}
    assert owners["conv.weight"] == "conv"
    assert owners["fc.bias"] == "fc"


def test_a_module_inside_a_module_and_called_twice() -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    model = nn.ModuleDict({"outer": nn.Sequential(inner)})
    with trace_modules(model) as modules:
        h = torch.randn(2, 3)
        for _ in range(2):
            h = model["outer"](h)
        loss = h.sum()
    graph = walk(loss, model, modules).graph
    assert [n.module for n in graph.nodes if n.name == "TanhBackward0"] == ["outer.0.1"] * 2
    assert [n.module for n in graph.nodes if n.name == "AddmmBackward0"] == ["outer.0.0"] * 2


def test_a_failing_forward_leaves_no_hook() -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("no")

    model = nn.ModuleDict({"bad": Failing(), "good": nn.Linear(2, 2)})
    with trace_modules(model) as modules:
        with pytest.raises(KeyError):
            model["bad"](torch.ones(2))
        after = torch.ones(2, requires_grad=True) * 2
        good = model["good"](after)
    graph = walk(good.sum(), model, modules).graph
    assert [n.module for n in graph.nodes if n.name == "MulBackward0"] == [""]
    assert "good" in {n.module for n in graph.nodes}
    assert not model["good"]._forward_hooks
    assert not model["good"]._forward_pre_hooks


def test_shared_weights_have_the_first_name() -> None:
    model = nn.ModuleDict({"one": nn.Linear(3, 3, bias=False), "two": nn.Linear(3, 3, bias=False)})
    model["two"].weight = model["one"].weight
    graph = walk(model["two"](model["one"](torch.ones(1, 3))).sum(), model).graph
    assert [p.name for p in graph.parameters] == ["one.weight"]


def test_parameters_that_are_not_reached_and_frozen_ones() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    model["used"].bias.requires_grad_(False)
    graph = walk(model["used"](torch.ones(1, 2)).sum(), model).graph
    found = {p.name: (p.node is not None, p.frozen) for p in graph.parameters}
    assert found == {
        "used.weight": (True, False),
        "used.bias": (False, True),
        "unused.weight": (False, False),
        "unused.bias": (False, False),
    }


def test_a_tensor_without_a_graph() -> None:
    for tensor in (torch.ones(2), leaf(2).detach()):
        with pytest.raises(UsageError, match="no backward graph"):
            walk(tensor)


def test_a_leaf_is_its_own_graph() -> None:
    x = leaf(2)
    walked = walk(x, {"x": x})
    assert [(n.name, n.parameter) for n in walked.graph.nodes] == [("AccumulateGrad", "x")]
    for act in (record, replay):
        assert torch.equal(act(walked, torch.ones(2)).gradients["x"], torch.ones(2))


def test_a_freed_graph_still_has_a_shape() -> None:
    x = leaf(3)
    y = x.sin().sum()
    y.backward()
    assert len(walk(y, saved=False).graph) == 3
    with pytest.raises(UsageError, match="SinBackward0 no longer has its saved tensors"):
        walk(y)


def test_a_custom_root_stays_alive_with_the_walk() -> None:
    a, b = leaf(3), leaf(3)
    walked = walk(Scale.apply(a, 2, b)[0], {"a": a, "b": b})
    gc.collect()
    assert torch.equal(replay(walked, torch.ones(3)).gradients["a"], (b * 2).detach())


def test_a_hundred_thousand_nodes_need_no_recursion() -> None:
    """Twenty chains: torch 2.14 itself cannot free one of 50,000 nodes once Python saw them."""
    x = leaf(1)
    total = torch.zeros(1)
    for _ in range(20):
        y = x
        for _ in range(5_000):
            y = -y
        total = total + y
    walked = walk(total, {"x": x})
    assert len(walked.nodes) == 20 * 5_000 + 20 + 1  # the chains, the sums, the leaf
    assert replay(walked, keep=False).gradients["x"].item() == 20.0


REPEATABLE = ZOO.keys() - {
    "one_of_many_outputs",  # no scalar
    "long_chain",
    "made_by_several_threads",  # the numbers of the main thread's nodes have grown
}


@pytest.mark.parametrize("kind", sorted(REPEATABLE))
def test_the_same_program_gives_the_same_dump(kind: str) -> None:
    cases = ZOO[kind](), ZOO[kind]()  # both alive, so at other addresses
    first, second = (dumps(record(walk(case.root, case.names)).graph) for case in cases)
    assert first == second
