"""Compiled, scripted and exported functions, higher-order operators, custom operators."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.registry import HELD, ZOO, Graph, Made, MissingError, graph, leaf, run

COMPILED, SCRIPTED = "compiled functions", "scripted, traced and exported modules"


def _two(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return (x @ y).sin(), (x * 2).sum()


def _compiled(backend: str, what: str) -> tuple[Any, ...]:
    torch._dynamo.reset()
    x, y = leaf(3, 3), leaf(3, 3)
    leaves = {"x": x, "y": y}
    if what == "module":
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        return torch.compile(model, backend=backend)(x).square().sum(), model
    if what == "module, traced":
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        return run(torch.compile(model, backend=backend), torch.randn(4, 3))
    function = torch.compile(_two, backend=backend)
    first, second = function(x, y)
    roots = {"first result": first.sum(), "second result": second, "both": first.sum() * second}
    if what == "twice":
        again, _ = function(first, y)
        return again.sum() + second, leaves
    if what == "with a graph break":

        def broken(x: Tensor, y: Tensor) -> Tensor:
            z = (x * y).exp()
            torch._dynamo.graph_break()
            return (z + x).tanh()

        return torch.compile(broken, backend=backend)(x, y).sum(), leaves
    if what == "a view and in place":

        def written(x: Tensor, y: Tensor) -> Tensor:
            z = x * 1.0
            z[0].mul_(y[0])
            return z.t()

        return torch.compile(written, backend=backend)(x, y).square().sum(), leaves
    return roots[what], leaves


for _backend in ("eager", "aot_eager"):
    for _what in (
        "first result",
        "second result",
        "both",
        "twice",
        "with a graph break",
        "a view and in place",
        "module",
        "module, traced",
    ):
        ZOO[f"compiled by {_backend}, {_what}"] = Graph(
            COMPILED, partial(_compiled, _backend, _what), slow=True
        )


@graph(COMPILED, slow=True)
def compiled_checkpoint() -> Made:
    from torch.utils.checkpoint import checkpoint

    layer = nn.Linear(4, 4)

    @torch.compile(backend="aot_eager")
    def function(x: Tensor) -> Tensor:
        return checkpoint(lambda x: layer(x).sin().exp(), x, use_reentrant=False)

    return function(torch.randn(3, 4)).sum(), layer


@graph(COMPILED, expects="refused", slow=True)
def compiled_with_donated_buffers() -> Made:
    x, function = leaf(5, 3), torch.compile(_two, backend="aot_eager", dynamic=True)
    y = leaf(3, 5)
    return function(x, y)[0].square().sum(), {"x": x, "y": y}


@graph(COMPILED, slow=True)
def compiled_with_dynamic_shapes() -> Made:
    from torch._functorch import config

    torch._dynamo.reset()
    x, function = leaf(5, 3), torch.compile(_two, backend="aot_eager", dynamic=True)
    y = leaf(3, 5)
    HELD.enter_context(config.patch(donated_buffer=False))
    return function(x, y)[0].square().sum(), {"x": x, "y": y}


@graph(COMPILED, slow=True)
def compiled_vmap() -> Made:
    x = leaf(3, 4)
    out = torch.compile(lambda x: torch.vmap(torch.sin)(x) * x, backend="aot_eager")(x)
    return out.sum(), {"x": x}


@graph(SCRIPTED)
def scripted_function() -> Made:
    @torch.jit.script
    def function(x: Tensor, y: Tensor) -> Tensor:
        z = x * y
        if bool(z.sum() > 0):
            z = z.sin()
        return torch.tanh(z + x)

    x, y = leaf(3), leaf(3)
    for _ in range(4):  # the executor optimises after some runs
        out = function(x, y)
    return out.sum(), {"x": x, "y": y}


@graph(SCRIPTED)
def traced_module() -> Made:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
    traced = torch.jit.trace(model, torch.randn(2, 3))
    for _ in range(4):
        out = traced(torch.randn(5, 3))
    return out.square().sum(), model


@graph(SCRIPTED)
def an_fx_module() -> tuple[Any, ...]:
    model = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)))
    return run(model, torch.randn(5, 3))


@graph(SCRIPTED, slow=True)
def an_exported_module() -> tuple[Any, ...]:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    return run(torch.export.export(model, (torch.randn(5, 3),)).module(), torch.randn(5, 3))


HIGHER = "higher-order operators"


@graph(HIGHER, slow=True)
def cond() -> Made:
    x, y = leaf(3), leaf(3)
    out = torch.cond(x.sum() > 0, lambda x, y: (x * y).sin(), lambda x, y: x.exp() - y, (x, y))
    return out.sum(), {"x": x, "y": y}


@graph(HIGHER, slow=True)
def scan() -> Made:
    try:
        from torch._higher_order_ops import scan as running
    except ImportError as error:
        raise MissingError("this torch has no scan") from error
    x, w = leaf(5, 3), leaf(3)
    last, all_ = running(lambda c, x: ((c * w + x).tanh(), c * 1.0), torch.zeros(3), x)
    return last.sum() + all_.square().sum(), {"x": x, "w": w}


@graph(HIGHER, slow=True)
def associative_scan() -> Made:
    try:
        from torch._higher_order_ops import associative_scan as running
    except ImportError as error:
        raise MissingError("this torch has no associative_scan") from error
    x = leaf(5, 3)
    return running(lambda a, b: a * b, x, 0, combine_mode="generic").sum(), {"x": x}


@graph(HIGHER, slow=True)
def mapped() -> Made:
    from torch._higher_order_ops import map as mapping

    x, y = leaf(5, 3), leaf(3)
    return mapping(lambda row, y: (row * y).sin(), x, y).sum(), {"x": x, "y": y}


OWN = "custom operators"


def _own(name: str) -> Any:
    """An operator whose backward is a custom operator too."""

    @torch.library.custom_op(f"example_operators::{name}", mutates_args=())
    def operator(x: Tensor, y: Tensor, scale: float) -> list[Tensor]:
        return [x * y * scale, x.sin()]

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        x, y, ctx.scale = inputs
        ctx.save_for_backward(x, y)

    def backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
        x, y = ctx.saved_tensors
        first, second = grads
        return first * y * ctx.scale + second * x.cos(), first * x * ctx.scale, None

    operator.register_autograd(backward, setup_context=keep)
    return operator


@graph(OWN)
def a_custom_operator() -> Made:
    x, y = leaf(3), leaf(3)
    first, second = _own("both")(x, y, 1.5)
    return (first * second).sum(), {"x": x, "y": y}


@graph(OWN)
def a_custom_operator_half_used() -> Made:
    x, y = leaf(3), leaf(3)
    return _own("half")(x, y, 1.5)[1].sum(), {"x": x, "y": y}


@graph(OWN)
def an_operator_of_a_library() -> Made:
    library = torch.library.Library("example_library", "DEF")
    HELD.callback(library._destroy)
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CompositeImplicitAutograd")
    x = leaf(3)
    return torch.ops.example_library.double(x.sin()).sum(), {"x": x}


@graph(OWN)
def an_operator_that_writes() -> Made:
    @torch.library.custom_op("example_operators::write", mutates_args={"out"})
    def write(x: Tensor, out: Tensor) -> None:
        out.copy_(x.sin())

    x, out = leaf(3), torch.zeros(3)
    write(x.detach(), out)
    return (out * x).sum(), {"x": x}
