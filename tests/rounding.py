"""Compares two computations that both round, by their distance from a third one in float64.

The difference of two rounded results depends on the processor and on the computation. So does each
one's distance from the exact result, to the same degree: that distance is the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
Values = Mapping[str, Tensor | None] | Mapping[str, Tensor] | Tensor

TIMES = 4
"""Two orders of one sum differ in error by about 2; see :func:`assert_as_accurate`."""


def assert_as_accurate(found: Values, usual: Values, exact: Values, times: float = TIMES) -> None:
    """Require that ``found`` is about as close to ``exact``, in float64, as ``usual`` is.

    The error is the 2-norm of the difference: over everything, and over each tensor. A tensor of
    few numbers may be nearly exact in ``usual`` by chance; the share of error over everything is
    allowed to it as well.
    """
    a, b, c = _named(found), _named(usual), _named(exact)
    assert a.keys() == b.keys() == c.keys()
    assert all(a[name].shape == c[name].shape for name in c)
    share = max(relative_error(b, c), _rounding(a))
    assert share < 0.5, "the usual result is not close to the exact one"
    assert _norm(a, c) <= times * share * _norm(c)
    for name, tensor in c.items():
        one = {name: tensor}
        allowed = times * max(_norm(b, one), share * _norm(one))
        assert _norm(a, one) <= allowed, f"{name}: {_norm(a, one)} where {allowed} is allowed"


def assert_figures_as_accurate(
    found: Mapping[str, float], usual: Mapping[str, float], exact: Mapping[str, float]
) -> None:
    """As :func:`assert_as_accurate`, of single numbers, each by its relative error.

    A single number may be nearly exact by chance, so the worst of ``usual`` is the measure of all.
    """
    assert found.keys() == usual.keys() == exact.keys()
    share = max(torch.finfo(torch.float32).eps, *_shares(usual, exact))
    assert share < 0.5, "the usual figures are not close to the exact ones"
    assert all(one <= TIMES * share for one in _shares(found, exact))
    assert [key for key in exact if not exact[key] and found[key]] == []


def _shares(figures: Mapping[str, float], exact: Mapping[str, float]) -> list[float]:
    return [abs(figures[key] / value - 1) for key, value in exact.items() if value]


def relative_error(found: Values, exact: Values) -> float:
    """The 2-norm of the difference over that of the exact values, over all tensors together."""
    return _norm(_named(found), _named(exact)) / _norm(_named(exact))


def _named(values: Values) -> dict[str, Tensor]:
    tensors = {"": values} if isinstance(values, Tensor) else values
    return {name: one.detach() for name, one in tensors.items() if one is not None}


def _norm(values: Mapping[str, Tensor], less: Mapping[str, Tensor] | None = None) -> float:
    """The 2-norm of ``values``, or of their difference from ``less``, over the names of that."""
    parts = [
        values[name].double() - less[name].double() if less else values[name].double()
        for name in (less or values)
    ]
    return float(torch.cat([part.flatten() for part in parts]).norm())


def _rounding(values: Mapping[str, Tensor]) -> float:
    return max(torch.finfo(one.dtype).eps for one in values.values() if one.is_floating_point())


@contextmanager
def smooth() -> Iterator[None]:
    """Networks without kinks, at which rounding decides the way of a gradient.

    A softplus replaces each ReLU, and average pooling replaces max pooling.
    """
    with mock.patch.object(F, "relu", F.softplus), mock.patch.object(F, "max_pool2d", F.avg_pool2d):
        yield


def in_float64(network: Network) -> Network:
    """Make a network compute in float64, whatever it is given."""
    network.double()
    network.register_forward_pre_hook(lambda _, images: tuple(one.double() for one in images))
    return network


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moves(weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How far training has moved weights from their ``start``, in float64."""
    return {name: tensor.double() - start[name].double() for name, tensor in weights.items()}
