"""Graphs inspected in unusual states of torch, and unusual roots, leaves and names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.registry import HELD, ZOO, Graph, Made, graph, leaf, run

STATES, SHAPES = "unusual states of torch", "unusual roots, leaves and names"


def _layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def _default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    HELD.callback(torch.set_default_dtype, torch.float32)


def _threads() -> None:
    HELD.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(3)


def _deterministic() -> None:
    torch.use_deterministic_algorithms(True)
    HELD.callback(torch.use_deterministic_algorithms, False)


def _flushing() -> None:
    torch.set_flush_denormal(True)
    HELD.callback(torch.set_flush_denormal, False)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any] | None]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "anomaly mode": lambda: torch.autograd.detect_anomaly(check_nan=True),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device meta": lambda: torch.device("meta"),
    "default dtype float64": _default_dtype,
    "three threads": _threads,
    "deterministic algorithms": _deterministic,
    "denormals flushed": _flushing,
    "one thread for backward": lambda: torch.autograd.set_multithreading_enabled(False),
    "saved-tensor hooks": lambda: torch.autograd.graph.saved_tensors_hooks(
        lambda t: t, lambda t: t
    ),
    "a profiler": lambda: torch.profiler.profile(),
    "a flop counter": lambda: __import__(
        "torch.utils.flop_counter", fromlist=["FlopCounterMode"]
    ).FlopCounterMode(display=False),
    "a graph group": lambda: torch.utils.checkpoint.GraphExecGroup(),
    "no meta kernels": lambda: torch.overrides.BaseTorchFunctionMode(),
}


def _inside(enter: Callable[[], Any]) -> tuple[Any, ...]:
    made = run(_layers(), torch.randn(6, 4))
    context = enter()
    if context is not None:
        HELD.enter_context(context)
    return made


for _name, _enter in CONTEXTS.items():
    ZOO[f"inspected under {_name}"] = Graph(STATES, partial(_inside, _enter))


@graph(STATES, expects="refused")
def not_finite_inspected_under_anomaly_mode() -> Made:
    x = torch.tensor([0.0, -1.0, 2.0], requires_grad=True)
    y = (x.sqrt() * x.log()).sum()
    HELD.enter_context(torch.autograd.detect_anomaly(check_nan=True))
    return y, {"x": x}


@graph(STATES)
def not_finite_under_anomaly_mode() -> Made:
    x = torch.tensor([0.0, -1.0, 2.0], requires_grad=True)
    with torch.autograd.detect_anomaly(check_nan=False):
        return (x.sqrt() * x.log()).sum(), {"x": x}


@graph(STATES)
def made_in_another_thread() -> Made:
    made: list[Any] = []
    model = _layers()
    thread = threading.Thread(target=lambda: made.append(model(torch.randn(6, 4)).sum()))
    thread.start()
    thread.join()
    return made[0], model


@graph(STATES)
def a_dispatch_mode_in_forward() -> tuple[Any, ...]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            return func(*args, **(kwargs or {}))

    with Mode():
        return run(_layers(), torch.randn(6, 4))


@graph(SHAPES)
def a_root_of_many_entries() -> Made:
    x = leaf(3, 4)
    return x.sin().t(), {"x": x}


@graph(SHAPES)
def a_complex_root() -> Made:
    x = leaf(3, dtype=torch.complex64)
    return x * x.conj() * 2j, {"x": x}


@graph(SHAPES)
def a_view_as_root() -> Made:
    x = leaf(4, 4)
    return (x * x)[::2, 1], {"x": x}


@graph(SHAPES)
def a_root_that_is_one_of_many_results() -> Made:
    x = leaf(4, 4)
    return torch.linalg.qr(x)[1], {"x": x}


@graph(SHAPES)
def an_expanded_root() -> Made:
    x = leaf(1, 3)
    return x.sin().expand(4, 3), {"x": x}


@graph(SHAPES)
def an_empty_root() -> Made:
    x = leaf(0, 3)
    return x * 2, {"x": x}


@graph(SHAPES)
def empty_leaves() -> Made:
    x, y = leaf(0, 3), leaf(3)
    return (torch.cat([x, y[None]]) * 2).sum() + x.sum(), {"x": x, "y": y}


@graph(SHAPES)
def a_half_precision_root() -> Made:
    x = leaf(5)
    return x.bfloat16().exp(), {"x": x}


@graph(SHAPES)
def a_state_dict_as_names() -> Made:
    model = _layers()
    return model(torch.randn(6, 4)).sum(), model.state_dict(keep_vars=True)


@graph(SHAPES)
def names_of_others() -> Made:
    model, other, inner = _layers(), leaf(3), leaf(2) * 2
    leaves = {**dict(model.named_parameters()), "other": other, "a.b": inner}
    return model(torch.randn(6, 4)).sum(), leaves


@graph(SHAPES)
def a_frozen_backbone() -> Made:
    model = _layers()
    model[0].requires_grad_(False)
    return model(torch.randn(6, 4)).sum(), model


@graph(SHAPES)
def parameters_that_share_memory() -> Made:
    flat = torch.randn(12)
    a, b = nn.Parameter(flat[:6]), nn.Parameter(flat[3:9])
    return (a.sin() * b).sum(), {"a": a, "b": b}


@graph(SHAPES)
def parameters_of_every_layout() -> Made:
    w = nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
    v, e = nn.Parameter(torch.randn(4, 6).t()), nn.Parameter(torch.randn(1, 4).expand(3, 4))
    x = torch.nn.functional.conv2d(torch.randn(2, 3, 5, 5), w).mean((0, 2, 3))
    return (v @ x).sin().sum() + (e * x).sum(), {"w": w, "v": v, "e": e}


@graph(SHAPES)
def a_parameter_written_since() -> Made:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    loss = model(torch.randn(3, 4)).sum()
    with torch.no_grad():
        model[1].bias.add_(1)  # nothing saved it
    return loss, model


@graph(SHAPES)
def a_module_called_many_times() -> tuple[Any, ...]:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for step in range(5):
                x = self.cell(x).tanh() if step % 2 else self.cell(x)
            return x

    return run(Loop(), torch.randn(3, 4))


@graph(SHAPES)
def part_of_a_graph_freed() -> Made:
    """Another root of the same graph has already run backward."""
    x = leaf(4)
    y = x.sin()
    first, second = (y * 2).exp().sum(), (y + x).sum()
    first.backward(retain_graph=True)
    x.grad = None
    return second, {"x": x}


@graph(SHAPES)
def long_and_wide() -> Made:
    x = leaf(2)
    parts = [x * float(n) for n in range(300)]
    for _ in range(3):
        parts = [(a + b).sin() for a, b in zip(parts, parts[1:] + parts[:1], strict=True)]
    return torch.stack(parts).sum(), {"x": x}


@graph(SHAPES)
def written_in_place_everywhere() -> Made:
    x = leaf(4, 4)
    y = x * 1
    y[0] = y[1] * 2
    y[:, 1].add_(y[:, 2].clone())
    y.diagonal().mul_(0.5)
    y.view(2, 8)[1].neg_()
    torch.as_strided(y, (2, 2), (5, 1)).mul_(3)
    y.unbind(0)[0].sum()
    y.masked_fill_(y.detach() > 1, 0.0).index_put_((torch.tensor([0, 0]),), x[0], True)
    y.scatter_(1, torch.tensor([[0], [1]]), x[:2, :1])
    return y.square().sum(), {"x": x}


@graph(SHAPES)
def integers_and_booleans_between() -> Made:
    x = leaf(6)
    places = x.argsort()
    chosen = torch.where(x > 0, x[places], x.flip(0))
    values, counts = x.detach().round().unique(return_counts=True)
    return (chosen * counts.sum() + values.mean()).cumsum(0).prod(), {"x": x}


def _wrapped(kind: str) -> tuple[Any, ...]:
    import torch.distributed as dist

    if not dist.is_initialized():
        store = dist.HashStore()
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    model = _layers()
    if kind == "DDP":
        return run(nn.parallel.DistributedDataParallel(model), torch.randn(6, 4))
    if kind == "DDP, buckets":
        ddp = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        return run(ddp, torch.randn(6, 4))
    from torch.distributed.tensor import distribute_module, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    return run(distribute_module(nn.Linear(4, 3), mesh), torch.randn(6, 4))


DISTRIBUTED = "distributed, one process"
for _kind in ("DDP", "DDP, buckets"):
    ZOO[f"distributed, {_kind}"] = Graph(DISTRIBUTED, partial(_wrapped, _kind), slow=True)
