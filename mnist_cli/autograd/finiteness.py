"""Whether gradients are finite, with one cheap sum each.

Knows tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from mnist_cli.autograd.bits import finite


def _plain(tensor: Tensor) -> bool:
    """Whether the sum of its entries shows whether all are finite."""
    return tensor.layout == torch.strided and type(tensor) in (Tensor, nn.Parameter)


def _sum(tensor: Tensor) -> Tensor:
    """The sum, a scalar. NaN or infinity in an entry makes it so; half precision overflows."""
    small = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.sum(dtype=torch.float32) if small else tensor.sum()


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether all ``.grad``, of any shape, are finite: one sum each, and a closer look where it is not."""
    grads = [one.grad.detach() for one in parameters if one.grad is not None]
    total = 0.0
    for grad in grads:
        if not _plain(grad) or grad.is_complex():
            total += 0.0 if finite(grad) else math.nan
        else:
            total += float(_sum(grad))
    return math.isfinite(total) or all(map(finite, grads))


def has_nan(output: Tensor) -> bool:
    """Whether an output of any shape has a NaN; infinity is an ordinary value of a mask."""
    values = output.detach()
    if not values.is_floating_point() or not _plain(values):
        return False
    total = float(_sum(values))
    return total != total and bool(values.isnan().any())


Sums = dict[torch.device, tuple[list[str], Tensor]]
"""By device, names and the sum of each one's gradient (N,)."""


def sums_of(named: Mapping[str, Tensor]) -> Sums:
    """The sum of each ``.grad``, of any shape, by device, left there."""
    groups: dict[torch.device, tuple[list[str], list[Tensor]]] = {}
    for name, one in named.items():
        if (
            (grad := one.grad) is not None
            and _plain(grad)
            and not (grad.is_complex() or grad.is_meta)
        ):
            names, sums = groups.setdefault(grad.device, ([], []))
            names.append(name)
            sums.append(_sum(grad.detach()).float())
    return {device: (names, torch.stack(sums)) for device, (names, sums) in groups.items()}


def fetched(sums: Sums) -> Iterator[tuple[str, float]]:
    """Names and sums; waits for the devices."""
    for names, values in sums.values():
        yield from zip(names, values.tolist(), strict=True)
