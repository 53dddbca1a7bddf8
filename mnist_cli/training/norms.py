"""2-norms of weights, of gradients and of the update of one step.

The ratio of update to weight shows for each layer whether the learning rate fits. The usual advice
is about 1e-3: far below, a layer hardly learns; far above, its weights jump.

Source: Karpathy, CS231n, "Neural Networks Part 3", ratio of weights to updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple

import torch
from torch import Tensor, nn

from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.runs.results import Norms

RULE_OF_THUMB = 1e-3
"""A healthy ratio of update to weight, from the source above."""


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name; in an ensemble, by their name in a member."""
    network = model.members if isinstance(model, Ensemble) else model
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


@torch.no_grad()
def measure(
    before: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    after: Sequence[Tensor],
    *,
    members: int = 1,
) -> Tensor:
    """The norms (P, 3) of P parameters in a step, on their device: gradient, weight, update.

    Does not wait for the device. Norms that are not finite count as 0: fp16's scaler has skipped
    that step. For an ensemble, with parameters (N, …), each is the mean over the members.

    Args:
        before: the parameters before the step.
        gradients: the gradients that the optimiser used; None counts as 0.
        after: the parameters after the step.
        members: number of networks in the ensemble.
    """
    rows = [
        torch.stack(
            [
                old.new_zeros(()) if gradient is None else _norm(gradient, members),
                _norm(old, members),
                _norm(new.detach() - old, members),
            ]
        )
        for old, gradient, new in zip(before, gradients, after, strict=True)
    ]
    return torch.nan_to_num(torch.stack(rows), nan=0.0, posinf=0.0, neginf=0.0)


def _norm(tensor: Tensor, members: int) -> Tensor:
    each = tensor.reshape(members, -1)  # a scalar's members too
    norm: Tensor = torch.linalg.vector_norm(each, dim=1).mean()
    return norm


def by_parameter(names: Iterable[str], measured: Tensor | None) -> dict[str, Norms]:
    """The norms (P, 3) that :func:`measure` returned, by name; waits for the device."""
    if measured is None:
        return {}
    return {name: Norms(*row) for name, row in zip(names, measured.tolist(), strict=True)}


def by_layer(parameters: Mapping[str, Norms]) -> dict[str, Norms]:
    """The norms of each module's parameters, taken together as one vector."""
    layers: dict[str, list[Norms]] = {}
    for name, norms in parameters.items():
        layers.setdefault(name.rpartition(".")[0] or name, []).append(norms)
    return {
        layer: Norms(*(math.hypot(*figures) for figures in zip(*map(astuple, parts), strict=True)))
        for layer, parts in layers.items()
    }
