"""Batch norm over the batches of all ranks, on any device.

torch's SyncBatchNorm has kernels for CUDA only. Also, the dtype of the figures that it exchanges
differs between ranks with images and ranks without images.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(model: nn.Module) -> nn.Module:
    """A copy of the network that shares its tensors, with batch norms over all ranks' images.

    The network itself does not change: saving, evaluating and inspecting it needs no other rank.
    A buffer that the copy replaces is replaced in the network too.
    """
    tensors = chain(model.parameters(), model.buffers())
    tables = chain.from_iterable((m._parameters, m._buffers) for m in model.modules())
    twin = copy.deepcopy(model, {id(shared): shared for shared in chain(tensors, tables)})
    for module in twin.modules():
        if is_batch_norm(module):
            kind = type(module)
            module.__class__ = type(f"Rank{kind.__name__}", (RankBatchNorm, kind), {})
    return twin


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module computes exactly what torch's batch norm does."""
    return isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward


def own_buffers(model: nn.Module) -> list[Tensor]:
    """The buffers that each rank computes by itself: all except those of batch norms."""
    modules = [module for module in model.modules() if not is_batch_norm(module)]
    buffers = chain.from_iterable(module.buffers(recurse=False) for module in modules)
    return list({id(buffer): buffer for buffer in buffers}.values())


class RankBatchNorm(_BatchNorm):
    """Batch norm over all ranks' images (N, C, …) together; a rank's part may be empty.

    In evaluation it is the original batch norm.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Normalise by mean and variance: of the batch in training, running ones in evaluation."""
        if not self.training:
            return super().forward(images)
        self._check_input_dim(images)  # type: ignore[no-untyped-call]
        mean, var, count = _of_all_ranks(images.detach())
        self._remember(mean, var * (count / (count - 1)))
        return cast(
            Tensor, _Normalise.apply(images, self.weight, self.bias, mean, var, count, self.eps)
        )

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        share = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches
                share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


def _of_all_ranks(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), variance (C,) and count () of all ranks' pixels; float32, or float64 for float64.

    Combined by the parallel formula of Chan, Golub and LeVeque 1979: with sums of squares, a
    large mean would cancel the digits of a small variance.

    Raises:
        ValueError: all ranks together have one value per channel; torch's batch norm raises it too.
    """
    channels, wide = images.shape[1], torch.promote_types(images.dtype, torch.float32)
    here = images.numel() // channels
    mine = torch.zeros(2 * channels + 1, device=images.device, dtype=wide)
    if here:
        var, mean = torch.var_mean(images.to(wide), dim=_all_but_channels(images), correction=0)
        mine = torch.cat([mean, var, mean.new_tensor([here])])
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    figures = torch.stack(gathered)
    means, variances = figures[:, :channels], figures[:, channels:-1]
    counts = figures[:, -1:]
    total = counts.sum()
    if here < 2 and int(total) < 2:  # a rank with two values need not wait for the device
        raise ValueError(
            "Expected more than 1 value per channel when training, got "
            f"{int(total)} on all {len(figures)} ranks"
        )
    mean = (counts * means).sum(0) / total
    var = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, var, total


class _Normalise(torch.autograd.Function):
    """Batch norm by given mean and variance; its gradient includes their dependence on images."""

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
        by = None if weight is None else weight.to(mean.dtype)
        plus = None if bias is None else bias.to(mean.dtype)
        return F.batch_norm(images, mean, var, by, plus, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """As published by Ioffe and Szegedy 2015, with both sums taken over all ranks.

        With y = w·x̂ + b and x̂ = (x - μ)·s: dx = w·s·(dy - mean(dy) - x̂·mean(dy·x̂)). Gradients of
        weight and bias are those of this rank; DDP averages them over the ranks.
        """
        images, weight, bias, mean, var, count = ctx.saved_tensors
        (gradient,) = gradients
        scale = torch.rsqrt(var + ctx.eps)
        centred = images - _wide(mean, images)
        by_bias = gradient.sum(_all_but_channels(images), dtype=mean.dtype)
        by_weight = (centred * gradient).sum(_all_but_channels(images)) * scale
        sums = torch.stack([by_bias, by_weight])
        dist.all_reduce(sums)
        flow = gradient - _wide(sums[0] / count, images)
        flow = flow - centred.mul_(_wide(scale * sums[1] / count, images))
        factor = scale if weight is None else scale * weight
        return (
            flow.mul_(_wide(factor, images)).to(images.dtype),
            None if weight is None else by_weight.to(weight.dtype),
            None if bias is None else by_bias.to(bias.dtype),
            *(None,) * 4,
        )


def _all_but_channels(images: Tensor) -> tuple[int, ...]:
    """The dimensions of images (N, C, …) over which a channel's mean is taken."""
    return tuple(dimension for dimension in range(images.ndim) if dimension != 1)


def _wide(figures: Tensor, images: Tensor) -> Tensor:
    """Figures (C,) as a view that broadcasts against images (N, C, …)."""
    return figures.view(-1, *[1] * (images.ndim - 2))
