"""Parametrisations of weights, and pruned ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from zoo.registry import ZOO, Graph, graph, run

PARAMETRISED = "parametrisations"


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


def _parametrised(name: str) -> tuple[Any, ...]:
    layer = nn.Linear(4, 4)
    x = torch.randn(3, 4)
    if name == "symmetric":
        parametrize.register_parametrization(layer, "weight", Symmetric())
    elif name in {"old weight_norm", "old spectral_norm"}:
        layer = (weight_norm if "weight" in name else spectral_norm)(layer)
    elif name == "cached":
        layer = parametrizations.orthogonal(layer)
        with parametrize.cached():
            return run(nn.Sequential(layer, nn.Tanh(), layer), x)
    elif name.startswith("orthogonal"):
        layer = parametrizations.orthogonal(layer, orthogonal_map=name.split()[1])
    else:
        layer = getattr(parametrizations, name)(layer)
    return run(nn.Sequential(layer, nn.Tanh(), layer), x)


for _name in (
    "weight_norm",
    "spectral_norm",
    "orthogonal matrix_exp",
    "orthogonal cayley",
    "orthogonal householder",
    "symmetric",
    "old weight_norm",
    "old spectral_norm",
    "cached",
):
    ZOO[f"parametrised, {_name}"] = Graph(PARAMETRISED, partial(_parametrised, _name))


@graph(PARAMETRISED)
def pruned() -> tuple[Any, ...]:
    from torch.nn.utils import prune

    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    prune.l1_unstructured(model[0], "weight", 0.4)
    prune.random_structured(model[2], "weight", amount=1, dim=1)
    return run(model, torch.randn(3, 5))
