"""Muon: momentum made orthogonal, for the matrices of a network.

Captured steps and ensembles cannot use torch's Muon. It reads its learning rate on the host,
cannot skip a step, and takes one matrix at a time.

Sources: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al.
2025, "Muon is Scalable for LLM Training", for the size of a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_cli.base.pair import Pair
from mnist_cli.devices.kinds import rate_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that brings singular values near 1, from Jordan et al."""

SMALLEST_NORM = 1e-7
SMALL = 2**15
"""Largest number of entries of a matrix that a CPU multiplies faster in float32."""


class Muon(Optimizer):
    """Computes the same as ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``.

    Parameters are matrices (rows, columns); filters of convolutions (rows, …), each of which is a
    row; or stacks (N, rows, …), whose matrices are made orthogonal one by one. The learning rate
    may be a tensor () on the device. If the attribute ``found_inf`` () is not 0, a step changes
    nothing, as with torch's fused optimisers.

    Attributes:
        stacked: whether the parameters are stacks.
        pair: two threads that share the parameters of a step; None updates them one by one.
    """

    stacked = False
    pair: Pair | None = None

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

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy; torch omits the attributes of a subclass."""
        return {**super().__getstate__(), "stacked": self.stacked, "pair": self.pair}

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; with a pair, each thread updates some of them."""
        groups = self.param_groups
        moved = [(p, group) for group in groups for p in group["params"] if p.grad is not None]
        if self.pair is None:
            self._move(moved)
        else:
            moved.sort(key=lambda one: one[0].numel(), reverse=True)
            self.pair.both(lambda: self._move(moved[::2]), lambda: self._move(moved[1::2]))

    def _move(self, moved: Sequence[tuple[nn.Parameter, dict[str, Any]]]) -> None:
        with torch.no_grad():  # a mode of each thread
            for parameter, group in moved:
                assert parameter.grad is not None
                self._move_one(parameter, parameter.grad, group)

    def _move_one(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, skip = self.state[parameter], getattr(self, "found_inf", None)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"]
        before = [] if skip is None else [(one, one.clone()) for one in (mean, parameter)]
        mean.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        matrices = ahead.flatten(2 if self.stacked else 1)
        change = orthogonal(matrices, group["ns_steps"]).to(parameter.dtype).reshape_as(ahead)
        size = 0.2 * math.sqrt(max(matrices.shape[-2:]))  # AdamW's steps are about as large
        rate = group["lr"]
        if not isinstance(rate, Tensor) and rate_dtype(parameter.device) == torch.float32:
            rate = torch.tensor(rate, dtype=torch.float32)  # rounds as a rate on the device does
        if group["weight_decay"]:
            parameter.mul_(1 - rate * group["weight_decay"])
        parameter.sub_(change * (rate * size))
        if skip is not None:
            for now, old in before:
                now.copy_(torch.where(skip.bool(), old, now))


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, by Newton-Schulz iterations.

    They compute in bfloat16. On a CPU, small matrices are computed in float32, in a third of the
    time.

    Args:
        matrices: (rows, columns) or (N, rows, columns). After the usual five iterations their
            singular values are between about 0.7 and 1.2; after fewer, small ones are lower.
        iterations: number of iterations; each is three matrix products.
    """
    a, b, c = NEWTON_SCHULZ
    product = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    tall = matrices.shape[-2] > matrices.shape[-1]
    small = matrices.device.type == "cpu" and matrices.shape[-2:].numel() <= SMALL
    x = matrices.float() if small else matrices.bfloat16()
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(iterations):
        gram = x @ x.mT
        x = product(x, product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
