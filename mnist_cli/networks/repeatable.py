"""Whether a network's state_dict and the seed determine its training step.

If they do, a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_cli.networks.global_state import seeded

ROUNDING = 1e-4
"""Share of the largest value by which another order of sums may change a value in float32."""

DIFFERS = (
    "depends in training on more than its state_dict{}, so a resumed run would differ: keep such "
    "values in buffers, and draw random numbers from torch's, NumPy's or Python's global generator"
)


def takes_same_step(
    network: nn.Module, other: nn.Module, step: Callable[[nn.Module], object]
) -> bool:
    """Whether a step gives two networks with the same state_dict the same gradients and buffers.

    ``step`` takes a training step with a network; both get the same random numbers.
    """
    taken = [_taken(one, step) for one in (network, other)]
    return all(
        mine is theirs if mine is None or theirs is None else close(mine, theirs)
        for mine, theirs in zip(*taken, strict=True)
    )


def _taken(network: nn.Module, step: Callable[[nn.Module], object]) -> list[Tensor | None]:
    network.zero_grad()
    with seeded(0):
        step(network)
    saved = network.state_dict(keep_vars=True).values()
    buffers = [one for one in saved if not isinstance(one, nn.Parameter)]
    return [*(parameter.grad for parameter in network.parameters()), *buffers]


def close(one: Tensor, other: Tensor) -> bool:
    """Whether tensors of one shape are equal up to rounding; NaN equals NaN."""
    one, other = (
        torch.nan_to_num(t.detach().to_dense().to(torch.complex128)) for t in (one, other)
    )
    if not one.numel():
        return True
    room = ROUNDING * float(torch.maximum(one.abs(), other.abs()).max())
    return bool((one - other).abs().max() <= room)
