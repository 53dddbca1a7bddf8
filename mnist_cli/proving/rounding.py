"""Emulates, in float64, the effect of rounding to fewer bits on a network's gradient.

This gives limits that do not depend on the device. A computation that keeps p bits may differ from
float64 by as much as an emulation with p bits.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.devices.device import Precision

Gradients = dict[str, Tensor]
Loss = Callable[[Tensor], Tensor]


def rounded(values: Tensor, bits: int) -> Tensor:
    """Values of any shape, float64, rounded to ``bits`` significant bits; any exponent."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


class _Rounding(torch.autograd.Function):
    """Rounds values in the forward pass and gradients in the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bits: int) -> Tensor:
        ctx.bits = bits
        return rounded(values, bits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return rounded(gradient, ctx.bits), None


def gradients(
    model: nn.Module, images: Tensor, loss: Loss, precision: Precision | None = None
) -> Gradients:
    """The gradient of ``loss(model(images))`` for each parameter, float64 on the CPU.

    Args:
        model: on any device.
        images: (N, 1, H, W), normalised, on the same device.
        loss: maps scores (N, classes) to ().
        precision: of the network, not of the loss; None computes in the type of the weights.
    """
    model.zero_grad(set_to_none=True)
    with precision.autocast() if precision else contextlib.nullcontext():
        scores = model(images)
    loss(scores).backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: gradient.detach().cpu().double() for name, gradient in found.items()}


def reference(model: nn.Module, images: Tensor, loss: Loss, bits: int | None = None) -> Gradients:
    """The gradients in float64 on the CPU; with ``bits``, rounded after each module.

    Args:
        model: on any device; it is copied.
        images: (N, 1, H, W), normalised.
        loss: maps scores (N, classes) to ().
        bits: significant bits of weights, images, modules' outputs and their gradients.
    """
    exact = copy.deepcopy(model).cpu().double()
    there = images.cpu().double()
    if bits is None:
        return gradients(exact, there, loss)
    for parameter in exact.parameters():
        parameter.data = rounded(parameter.data, bits)
    for module in exact.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _in, out: _Rounding.apply(out, bits))
    return gradients(exact, rounded(there, bits), loss)


def distance(found: Gradients, exact: Gradients) -> float:
    """The relative error in the 2-norm, over all parameters together."""
    difference = torch.stack([(found[name] - exact[name]).norm() for name in exact]).norm()
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    return float(difference / whole)


def worst(model: nn.Module, images: Tensor, loss: Loss, bits: Sequence[int]) -> float:
    """The largest error, for images (N, 1, H, W), of emulations with these numbers of bits."""
    exact = reference(model, images, loss)
    return max(distance(reference(model, images, loss, few), exact) for few in bits)
