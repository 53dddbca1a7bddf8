"""A moving average of the weights: the network to evaluate."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


@torch.no_grad()
def average(averaged: AveragedModel, model: nn.Module, *, first: bool) -> None:
    """Update the average with the model's weights; the ``first`` ones are copied.

    Does what :meth:`AveragedModel.update_parameters` does to the weights. That method also reads
    ``n_averaged``, which waits for the GPU at every step and cannot be captured; here the caller
    counts.
    """
    pairs = list(
        zip(
            chain(averaged.module.parameters(), averaged.module.buffers()),
            chain(model.parameters(), model.buffers()),
            strict=True,
        )
    )
    if first:
        for mean, value in pairs:
            mean.copy_(value)
        return
    assert averaged.multi_avg_fn is not None
    for floating in (True, False):
        alike = [pair for pair in pairs if pair[0].is_floating_point() == floating]
        if alike:
            averaged.multi_avg_fn([mean for mean, _ in alike], [value for _, value in alike], 0)
