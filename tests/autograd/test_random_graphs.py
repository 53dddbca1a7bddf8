"""Random graphs, drawn by hypothesis, are replayed bit for bit."""

from __future__ import annotations

import torch
import torch.utils.checkpoint as checkpointing
from autograd_zoo import Scale, same_bits
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnist_cli.autograd import judge, record, replay, walk

DTYPES = (torch.float32, torch.float64, torch.bfloat16)

Step = tuple[int, int, int]
"""Which operation, and which two of the tensors made so far it takes."""


def reshaped(t: Tensor) -> Tensor:
    return t.t() if t.dim() == 2 else t.reshape(-1)


def one_row(t: Tensor) -> Tensor:
    return t[-1:] if t.dim() else t


def pieces(t: Tensor) -> list[Tensor]:
    return list(t.chunk(2)) if t.dim() else [t]


def written_view(t: Tensor, other: Tensor) -> Tensor:
    """A view is written in place, so that its base gets a CopySlices."""
    base = t * 1
    row = base[0] if base.dim() else base
    row.mul_(other.detach().to(base.dtype).mean().tanh())
    row.add_(other.to(base.dtype).mean())
    return base


def fits(a: Tensor, b: Tensor) -> bool:
    try:
        torch.broadcast_shapes(a.shape, b.shape)
    except RuntimeError:
        return False
    return True


UNARY = [
    torch.sin,
    torch.tanh,
    lambda t: torch.relu(t * 1),
    lambda t: (t * 1).add_(0.25).relu_(),
    lambda t: torch.sigmoid(t) * t,
    lambda t: t.exp().clamp(max=4.0),
    lambda t: t.sum(0, keepdim=True) if t.dim() else t.abs(),
    lambda t: t.mean() + t,
    reshaped,
    one_row,
    lambda t: t.to(torch.float64),
    lambda t: t.to(torch.bfloat16),
    lambda t: torch.stack([t, t * 2]).sum(0),
    lambda t: t.softmax(-1) if t.dim() else t,
    lambda t: t.expand(3, *t.shape).mean(0),
    lambda t: torch.cat([t.reshape(-1), t.reshape(-1)])[: t.numel()],
    lambda t: checkpointing.checkpoint(lambda u: (u * u).sin(), t, use_reentrant=False),
    lambda t: checkpointing.checkpoint(lambda u: (u * u).cos(), t * 1, use_reentrant=True),
]

BINARY = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b * 0.5,
    lambda a, b: a / (b.abs() + 1.0),
    lambda a, b: torch.maximum(a, b.to(a.dtype)),
    lambda a, b: torch.where(a > 0, a, b.to(a.dtype)),
    lambda a, b: Scale.apply(a, 2, b.to(a.dtype) * 1)[1],
    lambda a, b: sum(Scale.apply(a, 0.5, b * 1)),
]


def build(
    steps: list[Step], shapes: list[list[int]], seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """A scalar made from leaves by the given steps, some of whose results are never used."""
    torch.manual_seed(seed)
    leaves = {
        f"leaf{i}": torch.randn(shape).to(DTYPES[i % 3]).requires_grad_()
        for i, shape in enumerate(shapes)
    }
    pool: list[Tensor] = list(leaves.values())
    for operation, first, second in steps:
        a, b = pool[first % len(pool)], pool[second % len(pool)]
        kinds = len(UNARY) + len(BINARY) + 2
        kind = operation % kinds
        if kind < len(UNARY):
            pool.append(UNARY[kind](a))
        elif kind == kinds - 1:
            pool.extend(pieces(a * 1))
        elif kind == kinds - 2:
            pool.append(written_view(a, b))
        elif fits(a, b) and a.numel() * b.numel() < 5000:
            pool.append(BINARY[kind - len(UNARY)](a, b))
    total = sum(t.to(torch.float32).mean() for t in pool[::2])
    assert isinstance(total, Tensor)
    return total, leaves


STEPS = st.lists(st.tuples(*[st.integers(0, 500)] * 3), min_size=1, max_size=25)
SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=2), min_size=1, max_size=4)

quiet = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quiet
@given(steps=STEPS, shapes=SHAPES, seed=st.integers(0, 2**31))
def test_a_random_graph_is_replayed_bit_for_bit(
    steps: list[Step], shapes: list[list[int]], seed: int
) -> None:
    root, leaves = build(steps, shapes, seed)
    root.backward(retain_graph=True)
    theirs = {n: t.grad for n, t in leaves.items() if t.grad is not None}
    for tensor in leaves.values():
        tensor.grad = None
    walked = walk(root, leaves)
    replayed = replay(walked)
    assert set(replayed.gradients) >= set(theirs)
    for name, gradient in theirs.items():
        assert same_bits(replayed.gradients[name], gradient), name
    verdict = judge(replayed, record(walked, keep=True))
    assert verdict.exact
    assert all(node.equal for node in verdict.nodes)


@quiet
@given(steps=STEPS, shapes=SHAPES, seed=st.integers(0, 2**31))
def test_the_gradients_own_graph_is_replayed_too(
    steps: list[Step], shapes: list[list[int]], seed: int
) -> None:
    """Second order; without reentrant checkpoints, which torch itself refuses here."""
    reentrant = len(UNARY) - 1
    kinds = len(UNARY) + len(BINARY) + 2
    steps = [step for step in steps if step[0] % kinds != reentrant]
    root, leaves = build(steps, shapes, seed)
    first = torch.autograd.grad(root, list(leaves.values()), create_graph=True, allow_unused=True)
    parts = [g.float().pow(2).sum() for g in first if g is not None and g.requires_grad]
    if not parts:
        return
    again = torch.stack(parts).sum()
    theirs = torch.autograd.grad(again, list(leaves.values()), retain_graph=True, allow_unused=True)
    ours = replay(again, names=leaves).gradients
    for (name, _), gradient in zip(leaves.items(), theirs, strict=True):
        if gradient is not None:
            assert same_bits(ours[name], gradient), name


WIDE = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=60)


@quiet
@given(factors=WIDE, seed=st.integers(0, 2**31))
@example(factors=[0.1] * 50, seed=0)
def test_heavy_fan_in_in_half_precision(factors: list[float], seed: int) -> None:
    """Many gradients meet at one input, where rounding makes every order another sum."""
    torch.manual_seed(seed)
    x = torch.randn(5).to(torch.bfloat16).requires_grad_()
    terms = [torch.sin(x * factor) * (x + factor) for factor in factors]
    while len(terms) > 1:
        terms = [sum(terms[i : i + 3]) for i in range(0, len(terms), 3)]  # type: ignore[misc]
    root = terms[0].sum()
    (theirs,) = torch.autograd.grad(root, x, retain_graph=True)
    assert same_bits(replay(root, names={"x": x}).gradients["x"], theirs)
