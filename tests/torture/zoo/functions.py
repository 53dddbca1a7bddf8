"""Custom Functions, checkpoints, saved-tensor hooks, torch.func, higher orders and operators."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks

from zoo.registry import HELD, ZOO, Graph, Made, graph, leaf, run

CUSTOM = "custom Functions"


class SetUp(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: float, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * y * scale, x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.scale, y = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        return first * y * ctx.scale + second * x.cos(), None, first * x * ctx.scale


class ByHand(Function):
    """Its own rule for vmap."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0]

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> tuple[Tensor, int]:
        return ByHand.apply(x.movedim(in_dims[0], 0)), 0


class Dirty(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


class Sorted(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, declines: bool) -> tuple[Tensor, Tensor, Tensor]:
        values, places = x.sort()
        ctx.mark_non_differentiable(places)
        ctx.set_materialize_grads(not declines)
        ctx.save_for_backward(places)
        return values, places, x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any, other: Tensor | None) -> Any:
        (places,) = ctx.saved_tensors
        back = torch.zeros(len(places)) if other is None else other.clone()
        return (back if grad is None else back.scatter_add(0, places, grad)), None


@graph(CUSTOM)
def with_setup_context() -> Made:
    x, y = leaf(4), leaf(4)
    first, second = SetUp.apply(x, 1.7, y)
    return (first.cos() * second).sum(), {"x": x, "y": y}


@graph(CUSTOM)
def with_setup_context_half_used() -> Made:
    x, y = leaf(4), leaf(4)
    return SetUp.apply(x, 1.7, y)[1].sum(), {"x": x, "y": y}


@graph(CUSTOM)
def under_vmap() -> Made:
    x, y = leaf(3, 4), leaf(4)
    out = torch.vmap(lambda row: SetUp.apply(row, 0.3, y)[0])(x)
    return (out + torch.vmap(ByHand.apply, in_dims=1, out_dims=1)(x)).sum(), {"x": x, "y": y}


@graph(CUSTOM)
def under_grad_and_vmap() -> Made:
    x, y = leaf(3, 4), leaf(4)
    inner = torch.func.grad(lambda row: SetUp.apply(row, 0.3, y)[0].square().sum())
    return torch.vmap(inner)(x).square().sum(), {"x": x, "y": y}


@graph(CUSTOM)
def marked_dirty() -> Made:
    x = leaf(4)
    y = x * 1.0
    z = Dirty.apply(y)
    return (z * y).sum(), {"x": x}


@graph(CUSTOM)
def marked_dirty_in_a_view() -> Made:
    x = leaf(4, 2)
    y = x * 1.0
    Dirty.apply(y[1])
    return y.square().sum(), {"x": x}


for _declines, _which in itertools.product((False, True), (0, 2)):
    ZOO[f"not differentiable in part, declines {_declines}, result {_which}"] = Graph(
        CUSTOM,
        lambda declines=_declines, which=_which: (
            lambda x: (Sorted.apply(x, declines)[which].square().sum(), {"x": x})
        )(leaf(5)),
    )


class Everything(Function):
    """Many arguments that are no tensors, a tensor twice, one that needs no gradient."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        ctx.args = args
        return sum(one for one in args if isinstance(one, Tensor))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return tuple(
            grad * n if isinstance(a, Tensor) and a.requires_grad else None
            for n, a in enumerate(ctx.args)
        )


@graph(CUSTOM)
def many_arguments() -> Made:
    x, y, constant = leaf(3), leaf(3), torch.ones(3)
    out = Everything.apply("word", x, 3, constant, x, None, y, [y])
    return out.sin().sum(), {"x": x, "y": y}


class Straight(Function):
    """Returns its argument as it is, and a gradient of another dtype and a larger shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad.double(), grad.expand(5, *grad.shape).double()


@graph(CUSTOM)
def cast_and_summed_on_the_way() -> Made:
    x, w = leaf(3), leaf(3)
    return Straight.apply(x * 2, w * 0.1).exp().sum(), {"x": x, "w": w}


class Engine(Function):
    """Runs a backward of its own within backward, as a deep-equilibrium layer does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (x * w).tanh()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            x, w = (one.detach().requires_grad_() for one in ctx.saved_tensors)
            return torch.autograd.grad((x * w).tanh(), (x, w), grad)


@graph(CUSTOM)
def a_backward_within_backward() -> Made:
    x, w = leaf(4), leaf(4)
    return Engine.apply(Engine.apply(x.sin(), w), w).sum(), {"x": x, "w": w}


@graph(CUSTOM)
def autograd_grad_within_forward() -> tuple[Any, ...]:
    class Energy(nn.Module):
        """Forces as the derivative of an energy: its weights get second derivatives."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = x.requires_grad_()
            return torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0]

    return run(Energy(), torch.randn(5, 3))


CHECKPOINTS = "checkpoints"


def _segment(*layers: nn.Module) -> Callable[[Tensor], Tensor]:
    return nn.Sequential(*layers)


def _nested(kinds: tuple[bool, ...], keep_state: bool = True) -> Made:
    """A checkpoint in a checkpoint in a checkpoint: reentrant or not, with batch norm, dropout."""
    inside = nn.ModuleList(
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3)) for _ in kinds
    )
    head = nn.Linear(4, 2)

    def level(number: int, x: Tensor) -> Tensor:
        x = inside[number](x)
        if number + 1 == len(kinds):
            return x
        return call(number + 1, x)

    def call(number: int, x: Tensor) -> Tensor:
        return checkpointing.checkpoint(
            level, number, x, use_reentrant=kinds[number], preserve_rng_state=keep_state
        )

    out = call(0, leaf(6, 4))
    return head(out + call(0, out.tanh())).square().mean(), nn.ModuleList([inside, head])


for _length in (1, 2, 3):
    for _kinds in itertools.product((False, True), repeat=_length):
        _said = " in ".join("reentrant" if kind else "not reentrant" for kind in reversed(_kinds))
        ZOO[f"checkpoint, {_said}"] = Graph(
            CHECKPOINTS, partial(_nested, _kinds), by_backward=any(_kinds)
        )
for _kind in (False, True):
    ZOO[f"checkpoint, reentrant {_kind}, random state not kept"] = Graph(
        CHECKPOINTS, partial(_nested, (_kind,), False), by_backward=_kind
    )


for _kind in (False, True):

    @graph(CHECKPOINTS, f"checkpoint_sequential, reentrant {_kind}", by_backward=_kind)
    def _sequential(kind: bool = _kind) -> Made:
        model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(6)))
        x = leaf(3, 4)
        out = checkpointing.checkpoint_sequential(model, 3, x, use_reentrant=kind)
        return out.sum(), {**dict(model.named_parameters()), "x": x}


@graph(CHECKPOINTS)
def checkpoint_under_saved_tensor_hooks() -> Made:
    layer, x = nn.Linear(4, 4), leaf(3, 4)
    with save_on_cpu():
        y = checkpointing.checkpoint(lambda x: layer(x).sin().exp(), x, use_reentrant=False)
        z = layer(y.tanh()).square()
    return z.sum(), {**dict(layer.named_parameters()), "x": x}


@graph(CHECKPOINTS)
def checkpoint_of_a_custom_function() -> Made:
    x, y = leaf(4), leaf(4)
    out = checkpointing.checkpoint(
        lambda x: SetUp.apply(x, 2.0, y)[0].exp(), x, use_reentrant=False
    )
    return out.sum(), {"x": x, "y": y}


HOOKED = "saved-tensor hooks"


@graph(HOOKED)
def saved_on_cpu() -> tuple[Any, ...]:
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
    with save_on_cpu():
        return run(model, torch.randn(5, 4))


@graph(HOOKED)
def packed_with_loss() -> Made:
    """Kept in bfloat16: the gradient is another than without hooks, but always the same."""
    x, w = leaf(4, 4), leaf(4, 4)
    with saved_tensors_hooks(lambda t: t.bfloat16(), lambda t: t.float()):
        y = (x @ w).tanh()
    return y.square().sum(), {"x": x, "w": w}


@graph(HOOKED)
def hooks_within_hooks() -> Made:
    x = leaf(4)
    with (
        saved_tensors_hooks(lambda t: [t, t * 0], lambda p: p[0] + p[1]),
        saved_tensors_hooks(lambda t: (t * 2,), lambda p: p[0] / 2),
    ):
        y = x.exp() * x.sin()
    return y.sum(), {"x": x}


@graph(HOOKED)
def changed_after_saving() -> Made:
    x = leaf(3)
    HELD.enter_context(torch.autograd.graph.allow_mutation_on_saved_tensors())
    y = x.clone()
    z = y.sin()
    y.add_(x)
    return (z * y).sum(), {"x": x}
