"""Batch norm over the batches of all ranks, on any device.

torch's own SyncBatchNorm has kernels for CUDA only; there it is used, and here is its equal for
everywhere else.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def synchronised(model: nn.Module) -> nn.Module:
    """A twin of the network that shares its tensors and whose batch norms see all ranks' images.

    The network itself stays as it is: what is saved, evaluated and inspected asks no other rank.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    if next(twin.parameters()).is_cuda:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(twin))
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, RankBatchNorm2d(child))
    return twin


class RankBatchNorm2d(nn.BatchNorm2d):
    """What ``BatchNorm2d`` would compute of all ranks' images (N, C, H, W) together.

    Takes over the parameters and buffers of ``norm``. A rank's part of the images may be empty.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(
            norm.num_features,
            norm.eps,
            norm.momentum,
            norm.affine,
            norm.track_running_stats,
            device="meta",
        )
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)
        self.train(norm.training)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise by the batch's figures in training, by the running ones in evaluation."""
        if not self.training:
            return super().forward(images)
        mean, var, count = _of_all_ranks(images.detach())
        self._remember(mean, var * (count / (count - 1)))
        return cast(
            Tensor,
            _Normalise.apply(images, self.weight, self.bias, mean, var, count, self.eps),
        )

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # the mean over all batches
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


def _of_all_ranks(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), variance (C,), both float32, and count (), of all ranks' pixels.

    Each rank's are put together by the parallel formula of Chan, Golub and LeVeque 1979: sums of
    squares would lose the digits that a small variance beside a large mean needs.
    """
    channels = images.shape[1]
    mine = torch.zeros(2 * channels + 1, device=images.device)
    if images.numel():
        var, mean = torch.var_mean(images.float(), dim=(0, 2, 3), correction=0)
        mine = torch.cat([mean, var, mean.new_tensor([images.numel() // channels])])
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    figures = torch.stack(gathered)
    means, variances = figures[:, :channels], figures[:, channels:-1]
    counts = figures[:, -1:]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    var = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, var, total


class _Normalise(torch.autograd.Function):
    """Batch norm by given figures, whose gradient knows that they are the images' own."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, bias, mean, var, count)
        ctx.eps = eps
        return F.batch_norm(images, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """As published by Ioffe and Szegedy 2015, with both sums taken over all ranks.

        With y = w·x̂ + b and x̂ = (x - μ)·s: dx = w·s·(dy - mean(dy) - x̂·mean(dy·x̂)). The weight's
        and the bias' gradients are this rank's: all ranks' mean is taken with the other weights'.
        """
        images, weight, bias, mean, var, count = ctx.saved_tensors
        (gradient,) = gradients
        scale = torch.rsqrt(var + ctx.eps)
        centred = images - _wide(mean)
        by_bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        by_weight = (centred * gradient).sum((0, 2, 3)) * scale
        sums = torch.stack([by_bias, by_weight])
        dist.all_reduce(sums)
        flow = gradient - _wide(sums[0] / count) - centred.mul_(_wide(scale * sums[1] / count))
        factor = scale if weight is None else scale * weight
        return (
            flow.mul_(_wide(factor)).to(images.dtype),
            None if weight is None else by_weight,
            None if bias is None else by_bias,
            *(None,) * 4,
        )


def _wide(figures: Tensor) -> Tensor:
    """A figure a channel (C,), to be taken with images (N, C, H, W)."""
    return figures[:, None, None]
