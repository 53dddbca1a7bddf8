"""The replay equals the engine on every kind of graph; one call equals one node's backward."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from autograd_zoo import ZOO, Case, ConvNet, leaf, same_bits
from torch import Tensor

from mnist_cli.autograd import call_node, judge, record, replay, replay_steps, require_exact, walk
from mnist_cli.autograd.verdict import FARTHEST, compare_tensors
from mnist_cli.errors import ReplayMismatch, UsageError


def plain_backward(case: Case) -> dict[str, Tensor]:
    """What torch alone puts into ``.grad``, with nothing of ours at work."""
    seed = torch.ones_like(case.root)
    torch.autograd.backward(case.root, seed, retain_graph=True)
    return {n: t.grad for n, t in case.leaves.items() if t.grad is not None}


@pytest.mark.parametrize("kind", ZOO)
def test_replay_is_bit_equal_to_the_engine_at_every_node(kind: str) -> None:
    case = ZOO[kind]()
    walked = walk(case.root, case.names)
    seed = torch.ones_like(case.root)
    replayed = replay(walked, seed)
    verdict = judge(replayed, record(walked, seed, keep=True))
    assert verdict.exact
    assert [one for one in verdict.nodes if not one.equal] == []
    assert verdict.notes == ()
    require_exact(verdict)
    theirs = plain_backward(case)
    assert set(replayed.gradients) >= set(theirs)
    for name, gradient in theirs.items():
        assert same_bits(replayed.gradients[name], gradient), name


@pytest.mark.parametrize("kind", ZOO)
def test_an_inspection_changes_nothing(kind: str) -> None:
    case = ZOO[kind]()
    marks = {name: torch.full_like(t, 3.0) for name, t in case.leaves.items()}
    for name, tensor in case.leaves.items():
        tensor.grad = marks[name]
    before = {k: v.clone() for k, v in case.model.state_dict().items()} if case.model else {}
    state = torch.get_rng_state()
    walked = walk(case.root, case.names)
    seed = torch.ones_like(case.root)
    replay(walked, seed)
    record(walked, seed)
    assert all(case.leaves[name].grad is mark for name, mark in marks.items())
    assert all(bool((mark == 3.0).all()) for mark in marks.values())
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in before.items():
        assert torch.equal(case.model.state_dict()[key], value), key


def test_a_step_shows_a_reduced_gradient() -> None:
    case = ZOO["linear_bias_is_reduced"]()
    walked = walk(case.root, case.names)
    reduced = [
        (walked.graph.nodes[d.edge.node].parameter, tuple(d.raw.shape), tuple(d.sent.shape))
        for step in replay_steps(walked)
        for d in step.deliveries
        if d.reduced
    ]
    assert reduced == [("b", (8, 2), (2,))]


def test_a_step_shows_a_cast_gradient() -> None:
    x = leaf(3, 3)
    w = leaf(3, 3, dtype=torch.float64)
    walked = walk((x * w).sum(), {"x": x, "w": w})
    cast = [d for step in replay_steps(walked) for d in step.deliveries if d.cast]
    assert [(d.raw.dtype, d.sent.dtype) for d in cast] == [(torch.float64, torch.float32)]


def test_steps_cover_every_node_once_and_hold_no_mode() -> None:
    case = ZOO["conv_net_train"]()
    walked = walk(case.root, case.names)
    seen = []
    for step in replay_steps(walked):
        assert torch.is_grad_enabled()
        seen.append(step.node)
    assert sorted(seen) == list(range(len(walked.nodes)))
    leaves = sum(1 for n in walked.graph.nodes if n.parameter)
    assert replay(walked).calls == len(seen) - leaves


def test_a_step_lists_the_parameters_that_a_reentrant_checkpoint_fills() -> None:
    case = ZOO["reentrant_checkpoint"]()
    walked = walk(case.root, case.names)
    inside = [step.inside for step in replay_steps(walked) if step.inside]
    assert inside == [("second.weight", "second.bias")] * 2


def test_a_tensor_hook_is_found_out_and_named() -> None:
    x = leaf(4)
    middle = x.sin()
    middle.register_hook(lambda g: g * 2)
    walked = walk(middle.exp().sum(), {"x": x})
    verdict = judge(replay(walked), record(walked, keep=True))
    assert not verdict.exact
    assert "SinBackward0" in verdict.notes[0]
    assert "hook" in verdict.notes[0]
    with pytest.raises(ReplayMismatch, match=r"most in x") as raised:
        require_exact(verdict)
    assert raised.value.code == 6


def test_a_corrupted_gradient_is_found() -> None:
    case = ZOO["conv_net_train"]()
    walked = walk(case.root, case.names)
    recorded = record(walked)
    wrong = recorded.gradients["fc.weight"].clone()
    wrong.view(torch.int32)[0, 0] += 3
    damaged = replace(recorded, gradients={**recorded.gradients, "fc.weight": wrong})
    verdict = judge(replay(walked), damaged)
    assert not verdict.exact
    found = {one.name: one for one in verdict.parameters if not one.equal}
    assert set(found) == {"fc.weight"}
    assert found["fc.weight"].max_ulp == 3


def test_a_missing_gradient_is_a_difference() -> None:
    case = ZOO["broadcasting"]()
    walked = walk(case.root, case.names)
    recorded = record(walked)
    fewer = {n: g for n, g in recorded.gradients.items() if n != "b"}
    verdict = judge(replay(walked), replace(recorded, gradients=fewer))
    one = next(c for c in verdict.parameters if c.name == "b")
    assert (one.equal, one.max_abs_diff, one.max_ulp) == (False, math.inf, FARTHEST)


# ------------------------------------------------------------------ one call by hand


def test_a_call_gives_what_the_engine_gives_for_that_node() -> None:
    a, b = leaf(3, 4), leaf(4, 2)
    product = a @ b
    grad = torch.randn(3, 2)
    expected = torch.autograd.grad(product, (a, b), grad, retain_graph=True)
    for ours, theirs in zip(call_node(product.grad_fn, grad), expected, strict=True):
        assert same_bits(ours, theirs)
        assert not ours.requires_grad


def test_a_call_is_always_a_tuple_and_defaults_to_ones() -> None:
    x = leaf(3)
    results = call_node((x * 4).grad_fn)
    assert isinstance(results, tuple)
    assert results[0].tolist() == [4.0, 4.0, 4.0]
    assert results[1:] == (None,) * (len(results) - 1)


def test_a_call_with_create_graph_can_be_called_again() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    (first, *_) = call_node((x**3).grad_fn, torch.tensor(1.0), create_graph=True)
    assert float(first.detach()) == 12.0
    (second,) = torch.autograd.grad(first, x)
    assert float(second) == 12.0


@pytest.mark.parametrize(
    ("grads", "message", "way_out"),
    [
        ((torch.ones(2),), r"gradient 0 of MmBackward0 has shape \(2,\)", r"\(3, 2\)"),
        ((torch.ones(3, 2), None), r"takes 1 gradient\(s\), not 2", r"\(3, 2\)"),
    ],
)
def test_a_gradient_of_the_wrong_shape(grads: tuple, message: str, way_out: str) -> None:
    product = leaf(3, 4) @ leaf(4, 2)
    with pytest.raises(UsageError, match=message) as raised:
        call_node(product.grad_fn, *grads)
    assert way_out.replace("\\", "") in raised.value.hint


def test_accumulate_grad_is_not_called() -> None:
    x = leaf(2)
    gather = x.sin().grad_fn.next_functions[0][0]
    with pytest.raises(UsageError, match="AccumulateGrad"):
        call_node(gather, torch.ones(2))
    assert x.grad is None


def test_a_freed_graph() -> None:
    x = leaf(3)
    y = x.sin().exp().sum()
    walked = walk(y, {"x": x})
    y.backward()
    for look in (lambda: walk(y), lambda: replay(walked), lambda: record(walked)):
        with pytest.raises(UsageError, match="already freed") as raised:
            look()
        assert "retain_graph" in raised.value.hint
        assert "detach() it" in raised.value.hint
    with pytest.raises(UsageError, match="SinBackward0"):
        call_node(y.grad_fn.next_functions[0][0].next_functions[0][0], torch.ones(3))


def test_a_saved_tensor_overwritten_since() -> None:
    x = leaf(3)
    middle = x.sin()
    y = middle.cos().sum()
    middle.mul_(2)
    with pytest.raises(UsageError, match="overwritten in place"):
        replay(y, names={"x": x})


def test_a_root_that_is_not_a_scalar_needs_a_gradient() -> None:
    x = leaf(3)
    with pytest.raises(UsageError, match=r"shape \(3,\) needs a gradient"):
        replay(x.sin())
    with pytest.raises(UsageError, match="does not fit"):
        replay(x.sin(), torch.ones(4))


# ------------------------------------------------------------------ comparing bits


NAN = torch.tensor([math.nan])
COMPARED = [
    (torch.tensor([0.0]), torch.tensor([-0.0]), (False, 0.0, 0)),
    (NAN, NAN.clone(), (True, 0.0, 0)),
    (NAN, torch.zeros(1), (False, math.inf, FARTHEST)),
    (NAN, torch.tensor([0x7FC00001], dtype=torch.int32).view(torch.float32), (False, 0.0, 0)),
    (torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 1.5]), (False, 0.5, 2**22)),
    (torch.ones(2), torch.ones(2, dtype=torch.float64), (False, math.inf, FARTHEST)),
    (torch.ones(2), torch.ones(1, 2), (False, math.inf, FARTHEST)),
]


@pytest.mark.parametrize(("ours", "theirs", "expected"), COMPARED)
def test_bits_are_compared(ours: Tensor, theirs: Tensor, expected: tuple[bool, float, int]) -> None:
    found = compare_tensors("t", ours, theirs)
    assert (found.equal, found.max_abs_diff, found.max_ulp) == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_ulps_are_steps_to_the_next_number(dtype: torch.dtype) -> None:
    start = torch.tensor([1.0, -1.0, 0.0], dtype=dtype)
    to = torch.tensor([2.0, -2.0, -1.0], dtype=dtype)
    three = start.clone()
    for _ in range(3):
        three = torch.nextafter(three, to)
    assert compare_tensors("u", start, three).max_ulp == 3
    across = compare_tensors(
        "u", torch.nextafter(start[2:], to[:1]), torch.nextafter(start[2:], to[2:])
    )
    assert across.max_ulp == 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_a_deterministic_network_is_bit_equal() -> None:
    torch.manual_seed(0)
    model = ConvNet().cuda()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        root = model(torch.randn(6, 1, 8, 8, device="cuda")).log_softmax(1).mean()
        walked = walk(root, model)
        verdict = judge(replay(walked), record(walked, keep=True))
    finally:
        torch.use_deterministic_algorithms(False)
    assert verdict.exact
