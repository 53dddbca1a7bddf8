"""Muon: momentum made orthogonal, for the matrices of a network.

Captured steps and ensembles cannot use torch's Muon. It reads its learning rate on the host,
cannot skip a step, and takes one matrix at a time.

Sources: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al.
2025, "Muon is Scalable for LLM Training", for the size of a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_cli.devices.kinds import rate_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that brings singular values near 1, from Jordan et al."""

SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Computes the same as ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``.

    Parameters are matrices (rows, columns), or stacks (N, rows, columns) whose matrices are made
    orthogonal one by one. The learning rate may be a tensor () on the device. If the attribute
    ``found_inf`` () is not 0, a step changes nothing, as with torch's fused optimisers.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        ns_steps: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, skip = self.state[parameter], getattr(self, "found_inf", None)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        change = orthogonal(ahead, group["ns_steps"]).to(parameter.dtype)
        size = 0.2 * math.sqrt(max(parameter.shape[-2:]))  # AdamW's steps are about as large
        rate = group["lr"]
        if not isinstance(rate, Tensor) and rate_dtype(parameter.device) == torch.float32:
            rate = torch.tensor(rate, dtype=torch.float32)  # rounds as a rate on the device does
        moved = parameter * (1 - rate * group["weight_decay"])
        moved -= change * (rate * size)
        _replace(state["momentum_buffer"], mean, skip)
        _replace(parameter, moved, skip)


def _replace(old: Tensor, new: Tensor, skip: Tensor | None) -> None:
    old.copy_(new if skip is None else torch.where(skip.bool(), old, new))


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, in bfloat16: Newton-Schulz iterations.

    Args:
        matrices: (rows, columns) or (N, rows, columns). After the usual five iterations their
            singular values are between about 0.7 and 1.2; after fewer, small ones are lower.
        iterations: number of iterations; each is three matrix products.
    """
    a, b, c = NEWTON_SCHULZ
    product = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(iterations):
        gram = x @ x.mT
        x = product(x, product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
