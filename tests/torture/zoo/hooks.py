"""Hooks of every kind: on tensors, nodes, modules, leaves and their accumulation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from zoo.registry import HELD, Made, graph, leaf, run

WATCHING, CHANGING = "hooks that watch", "hooks that change a gradient"
OF_LEAVES = "hooks of leaves"


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))


@graph(WATCHING)
def a_tensors_hook_that_watches() -> Made:
    x, seen = leaf(3), []
    y = x.sin()
    y.register_hook(lambda g: seen.append(g.norm()))
    return (y * x).sum(), {"x": x}


@graph(WATCHING)
def nodes_hooks_that_watch() -> Made:
    x, seen = leaf(3), []
    y = x.sin()
    y.grad_fn.register_hook(lambda *grads: seen.append(grads))
    y.grad_fn.register_prehook(lambda grads: seen.append(grads))
    return (y * x).sum(), {"x": x}


@graph(WATCHING)
def modules_full_backward_hooks_that_watch() -> tuple[Any, ...]:
    model, seen = _network(), []
    for module in model.modules():
        module.register_full_backward_hook(lambda *grads: seen.append(len(grads)))
        module.register_full_backward_pre_hook(lambda *grads: seen.append(len(grads)))
    return run(model, torch.randn(6, 4))


@graph(WATCHING)
def modules_old_backward_hooks() -> tuple[Any, ...]:
    model, seen = _network(), []
    for module in model:
        module.register_backward_hook(lambda *grads: seen.append(len(grads)))
    return run(model, torch.randn(6, 4))


@graph(WATCHING)
def hooks_of_all_modules() -> tuple[Any, ...]:
    from torch.nn.modules import module

    seen: list[int] = []
    handles = [
        module.register_module_full_backward_hook(lambda *grads: seen.append(len(grads))),
        module.register_module_forward_hook(lambda *parts: seen.append(len(parts))),
    ]
    for handle in handles:
        HELD.callback(handle.remove)
    return run(_network(), torch.randn(6, 4))


@graph(WATCHING)
def hooks_of_several_tensors() -> Made:
    x, seen = leaf(3), []
    y, z = x.sin(), x.exp()
    register_multi_grad_hook([y, z], lambda grads: seen.append(grads))
    register_multi_grad_hook([y, z], lambda grad: seen.append(grad), mode="any")
    return (y * z).sum(), {"x": x}


@graph(WATCHING)
def activations_kept_by_forward_hooks() -> tuple[Any, ...]:
    model, kept = _network(), []

    def keep(module: nn.Module, given: Any, out: Tensor) -> Tensor:
        out.retain_grad()
        kept.append(out)
        return out

    for module in model:
        module.register_forward_hook(keep)
    HELD.callback(kept.clear)
    return run(model, torch.randn(6, 4))


@graph(OF_LEAVES)
def leaves_hooks_in_order() -> Made:
    x = leaf(3)
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 3)
    x.register_hook(lambda g: None)
    return (x.sin() * x).sum(), {"x": x}


@graph(OF_LEAVES)
def hooks_after_accumulation() -> Made:
    model = _network()

    def step(parameter: Tensor) -> None:
        parameter.data.sub_(0.1 * parameter.grad)
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    return model(torch.randn(6, 4)).square().sum(), model


@graph(OF_LEAVES)
def clipped_as_they_come() -> Made:
    model = _network()
    for parameter in model.parameters():
        parameter.register_hook(lambda g: g.clamp(-0.01, 0.01))
    return model(torch.randn(6, 4)).square().sum(), model


@graph(OF_LEAVES)
def a_leafs_hook_with_an_order() -> Made:
    """A hook of a leaf, one of its AccumulateGrad, and one after accumulation."""
    x = leaf(3)
    x.register_hook(lambda g: g * 2)
    x.register_post_accumulate_grad_hook(lambda one: one.grad.mul_(100))
    return (x.exp() + x).sum(), {"x": x}


@graph(OF_LEAVES)
def a_hook_made_before_a_change_in_place() -> Made:
    """The hook stays with the tensor's value at the time; torch's own rule."""
    x = leaf(3)
    y = x * 2
    y.register_hook(lambda g: None)
    y.mul_(3)
    return y.sum(), {"x": x}


@graph(CHANGING, expects="named")
def a_tensors_hook_that_changes() -> Made:
    x = leaf(3)
    y = x.sin()
    y.register_hook(lambda g: g * 2)
    return (y * x).sum(), {"x": x}


@graph(CHANGING, expects="named")
def nodes_hooks_that_change() -> Made:
    x = leaf(3)
    y = x.sin()
    y.grad_fn.register_prehook(lambda grads: (grads[0] + 1,))
    y.grad_fn.register_hook(lambda left, came: (left[0] * 3,))
    return (y * x).sum(), {"x": x}


@graph(CHANGING, expects="named")
def modules_hooks_that_change() -> tuple[Any, ...]:
    model = _network()
    model[2].register_full_backward_hook(lambda module, left, came: (left[0] * 0.5,))
    model[3].register_full_backward_pre_hook(lambda module, came: (came[0] * 2,))
    return run(model, torch.randn(6, 4))


@graph(CHANGING, expects="named")
def the_roots_hook_that_changes() -> Made:
    x = leaf(3)
    y = x.sin().sum()
    y.register_hook(lambda g: g * 2)
    return y, {"x": x}


@graph(CHANGING, expects="named")
def a_reversed_gradient() -> Made:
    """As domain adaptation does it."""
    model, critic = nn.Linear(4, 4), nn.Linear(4, 1)
    features = model(torch.randn(5, 4)).tanh()
    features.register_hook(lambda g: -g)
    return critic(features).sum(), nn.ModuleList([model, critic])
