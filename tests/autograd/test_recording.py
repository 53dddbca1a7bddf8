"""Recorded figures against plain torch, and the model left as it was found."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from autograd_zoo import ZOO, Choosy, ConvNet, leaf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mnist_cli.autograd import record, replay, walk
from mnist_cli.autograd import stats as stats_module
from mnist_cli.autograd.graph import Stats
from mnist_cli.autograd.recording import kept_bytes
from mnist_cli.autograd.stats import StatsCollector
from mnist_cli.errors import UsageError


def test_gradients_of_intermediate_tensors_are_those_of_retain_grad() -> None:
    x, w = leaf(5, 3), leaf(3, 4)
    product = x @ w
    active = product.tanh()
    for tensor in (product, active):
        tensor.retain_grad()
    loss = active.pow(2).mean()
    graph = record(walk(loss, {"x": x, "w": w})).graph
    loss.backward()
    by_name = {node.name: node for node in graph.nodes}
    for name, tensor in (("MmBackward0", product), ("TanhBackward0", active)):
        arrived = by_name[name].grad_in[0]
        assert arrived.norm == pytest.approx(float(tensor.grad.norm()), rel=1e-5)
        assert arrived.shape == tuple(tensor.shape)
        product_mean = float(tensor.grad.mean())
        assert arrived.mean == pytest.approx(product_mean, abs=1e-7)


def test_without_a_sum_what_leaves_is_what_arrives() -> None:
    case = ZOO["linear_bias_is_reduced"]()
    graph = record(walk(case.root, case.names)).graph
    for node, position, edge in graph.edges():
        assert node.grad_out[position] == graph.nodes[edge.node].grad_in[edge.input_nr]


@pytest.mark.parametrize("name", sorted(ZOO.keys() - {"one_of_many_outputs"}))
def test_the_memory_of_kept_gradients_is_known_before(name: str) -> None:
    case = ZOO[name]()
    walked = walk(case.root, case.names)
    expected = kept_bytes(walked)
    recorded = record(walked, keep=True)
    kept = [g for grads in (*recorded.grad_in, *recorded.grad_out) for g in grads if g is not None]
    memories = [g.untyped_storage() for g in kept if g.layout == torch.strided]
    taken = {memory.data_ptr(): memory.nbytes() for memory in memories}
    assert expected >= sum(taken.values()) > 0


def test_the_memory_of_kept_gradients_is_exact_for_a_network() -> None:
    case = ZOO["conv_net_train"]()
    walked = walk(case.root, case.names)
    recorded = record(walked, keep=True)
    arrived = [g for grads in recorded.grad_in for g in grads if g is not None]
    assert kept_bytes(walked) == sum(gradient.nbytes for gradient in arrived)


def test_a_missing_gradient_is_none() -> None:
    _, _, third = Choosy.apply(leaf(4))
    node = record(walk(third.sum())).graph.nodes[1]
    assert [stats is None for stats in node.grad_in] == [True, True, False]


def test_parameters_inside_a_reentrant_checkpoint_have_a_gradient() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.outside = nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.utils.checkpoint.checkpoint(self.inside, x, use_reentrant=True)
            return self.outside(h)

    model = Net()
    loss = model(torch.randn(2, 3, requires_grad=True)).sum()
    inside = {p.name: p for p in record(walk(loss, model)).graph.parameters}["inside.weight"]
    assert inside.node is None
    assert inside.grad.norm > 0
    assert set(replay(walk(loss, model)).gradients) >= {n for n, _ in model.named_parameters()}


def test_an_optimiser_in_backward_does_not_step() -> None:
    x = leaf(3)
    stepped = []
    x.register_post_accumulate_grad_hook(stepped.append)
    y = x.sin().sum()
    record(walk(y, {"x": x}))
    assert stepped == []
    y.backward()
    assert len(stepped) == 1


def test_hooks_are_taken_off_again() -> None:
    case = ZOO["conv_net_train"]()
    walked = walk(case.root, case.names)
    first = record(walked).graph
    second = record(walked).graph
    assert first == second


def test_hooks_are_taken_off_after_a_failure() -> None:
    def refuse(_: torch.Tensor) -> None:
        raise ArithmeticError("no")

    x = leaf(3)
    x.grad = torch.ones(3)
    mark = x.grad
    middle = x.sin()
    handle = middle.register_hook(refuse)
    y = middle.sum()
    with pytest.raises(ArithmeticError):
        record(walk(y, {"x": x}))
    handle.remove()
    assert x.grad is mark
    y.backward()


def test_a_walk_from_a_node_cannot_be_run() -> None:
    with pytest.raises(UsageError, match="started from a node"):
        record(walk(leaf(2).sum().grad_fn))


def test_batch_norm_counts_are_left_alone() -> None:
    model = ConvNet()
    images = torch.randn(2, 1, 8, 8, requires_grad=True)
    out = torch.utils.checkpoint.checkpoint(model, images, use_reentrant=False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    walked = walk(out.sum(), model)
    record(walked)
    replay(walked)
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value), key


def test_a_gradient_gathered_twice_in_one_backward_is_recorded_as_it_arrived() -> None:
    """A reentrant checkpoint adds into ``.grad`` in place, after a gradient has come there."""
    torch.manual_seed(0)
    w = leaf(3)
    others = [leaf(3) for _ in range(12)]
    x = torch.randn(3, requires_grad=True)
    early = torch.utils.checkpoint.checkpoint(lambda t: t * w, x, use_reentrant=True)
    late = torch.addcmul(early, w, torch.stack(others).sum(0)).exp()
    names = {"w": w, **{f"o{i}": o for i, o in enumerate(others)}}
    walked = walk(late.sum(), names)
    recorded = record(walked, keep=True)
    at = next(n.id for n in walked.graph.nodes if n.parameter == "w")
    (direct,) = torch.autograd.grad((late.sum(),), (early,), retain_graph=True)
    expected = direct * torch.stack(others).sum(0).detach()
    assert torch.allclose(recorded.grad_in[at][0], expected)
    assert recorded.graph.nodes[at].grad_in[0].norm == pytest.approx(
        float(expected.norm()), rel=1e-5
    )
    assert torch.allclose(recorded.gradients["w"], expected + direct * x.detach())


# ------------------------------------------------------------------ figures


def stats_of(tensor: torch.Tensor) -> Stats:
    collector = StatsCollector()
    collector.add(tensor)
    return collector.results()[0]


VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40)


@settings(deadline=None)
@given(VALUES)
def test_figures_of_numbers(values: list[float]) -> None:
    stats = stats_of(torch.tensor(values))
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
    assert stats.norm == pytest.approx(math.sqrt(math.fsum(v * v for v in values)), rel=1e-9)
    summing = sys.float_info.epsilon * math.fsum(map(abs, values))  # of a mean of sums in any order
    assert stats.mean == pytest.approx(mean, rel=1e-9, abs=summing)
    assert stats.std == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-3)
    assert (stats.min, stats.max) == (min(values), max(values))
    assert stats.zeros == values.count(0.0) / len(values)


def test_a_large_bfloat16_tensor_has_the_right_norm() -> None:
    ones = torch.ones(100_000, dtype=torch.bfloat16)
    stats = stats_of(ones)
    assert stats.norm == pytest.approx(math.sqrt(100_000))
    assert (stats.mean, stats.std) == (1.0, 0.0)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-150, 1e200])
def test_a_float64_tensor_whose_squares_underflow_or_overflow(scale: float) -> None:
    entries = [3 * scale, 0.0, -4 * scale]
    stats = stats_of(torch.tensor(entries, dtype=torch.float64))
    mean = sum(entries) / 3
    assert stats.norm == pytest.approx(math.hypot(*entries), rel=1e-9, abs=0)
    deviation = math.hypot(*(one - mean for one in entries)) / math.sqrt(3)
    assert stats.std == pytest.approx(deviation, rel=1e-3, abs=0)


@pytest.mark.parametrize("last", [3.0, math.inf, math.nan])
def test_a_long_row_computed_in_parts_has_exact_figures(
    last: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_module, "PENDING_ENTRIES", 100_000)
    row = torch.arange(600_001) % 7 - 2.5
    row[-1] = last
    stats, exact = stats_of(row), row.double()
    wanted = [exact.norm(), exact.mean(), exact.std(correction=0), exact.min(), exact.max()]
    found = [stats.norm, stats.mean, stats.std, stats.min, stats.max]
    assert found == pytest.approx([float(one) for one in wanted], rel=1e-11, nan_ok=True)
    assert (stats.nan, stats.inf) == (int(math.isnan(last)), int(math.isinf(last)))
    row[:] = 0.1
    assert stats_of(row).std == 0
    row[5] = 0
    assert stats_of(row).zeros == 1 / 600_001


def test_nan_and_infinities_are_counted() -> None:
    stats = stats_of(torch.tensor([math.nan, math.inf, -math.inf, 0.0, 1.0]))
    assert (stats.nan, stats.inf, stats.zeros) == (1, 2, 0.2)
    assert math.isnan(stats.norm)
    assert not stats.finite
    infinite = stats_of(torch.tensor([math.inf, 1.0]))
    assert (infinite.max, infinite.min, infinite.norm) == (math.inf, 1.0, math.inf)


def test_empty_integer_complex_and_sparse_tensors() -> None:
    empty = stats_of(torch.ones(0, 3))
    assert (empty.shape, empty.norm, empty.zeros, empty.finite) == ((0, 3), 0.0, 0.0, True)
    assert stats_of(torch.tensor([3, -4])).norm == 5.0
    assert stats_of(torch.tensor([3 + 4j])).norm == 5.0
    sparse = torch.tensor([0.0, 3.0, 0.0, 0.0]).to_sparse()
    stats = stats_of(sparse)
    assert (stats.shape, stats.norm, stats.zeros) == ((4,), 3.0, 0.75)


def test_many_tensors_of_several_dtypes_at_once() -> None:
    tensors = [
        torch.full((n,), float(n), dtype=d) for n, d in ((1, torch.float64), (4, torch.half))
    ]
    collector = StatsCollector()
    places = [collector.add(tensor) for tensor in (*tensors, tensors[0])]
    assert places == [0, 1, 0]
    assert [stats.norm for stats in collector.results()] == [1.0, 8.0]
