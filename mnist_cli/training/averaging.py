"""A moving average of the weights: the network to evaluate."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


@torch.no_grad()
def average(
    averaged: AveragedModel,
    model: nn.Module,
    *,
    first: bool,
    copied: Collection[int],
) -> None:
    """Update the average with the model's weights; in the first step, copy them.

    Does what :meth:`AveragedModel.update_parameters` does to the weights. That method also reads
    ``n_averaged``, which waits for the GPU at every step and cannot be captured; here the caller
    counts.

    Args:
        averaged: the average.
        model: the network that trains.
        first: whether this is the first step.
        copied: indices of tensors that are always copied, from :func:`unaveraged`.
    """
    pairs = list(zip(_tensors(averaged.module), _tensors(model), strict=True))
    for index, (mean, value) in enumerate(pairs):
        if first or index in copied:
            mean.copy_(value)
    if first:
        return
    assert averaged.multi_avg_fn is not None
    rest = [pair for index, pair in enumerate(pairs) if index not in copied]
    for alike in (Tensor.is_floating_point, Tensor.is_complex, _counts):
        chosen = [pair for pair in rest if alike(pair[0])]
        if chosen:
            averaged.multi_avg_fn([mean for mean, _ in chosen], [value for _, value in chosen], 0)


def unaveraged(model: nn.Module) -> frozenset[int]:
    """Indices of the parameters and buffers that must not be averaged; waits for the device.

    The average of equal integers, as in a table of indices, may round to another integer. The
    average of two equal infinities, as in a mask, is NaN.
    """
    return frozenset(
        index
        for index, one in enumerate(_tensors(model))
        if _counts(one) or not bool(one.isfinite().all())
    )


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())


def _counts(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
