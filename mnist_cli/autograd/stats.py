"""Figures of many tensors with one wait for the device at the end.

Knows tensors and their figures; nothing of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mnist_cli.autograd.graph import Stats


def stats_of(tensor: Tensor) -> Stats:
    """Figures of one tensor, computed in float64 (float32 where the device has no float64)."""
    collector = StatsCollector()
    place = collector.add(tensor)
    return collector.results()[place]


class StatsCollector:
    """Takes tensors as they come, and answers with all their figures at once.

    Reductions run in float64 (float32 on devices without it), so that the norm of a large
    bfloat16 gradient is right. Nothing waits for the device until :meth:`results`.
    A tensor handed in twice in a row is computed once.
    """

    def __init__(self) -> None:
        self._shapes: list[tuple[int, ...]] = []
        self._rows: list[Tensor | None] = []
        self._sizes: list[int] = []
        self._recent: dict[int, tuple[Tensor, int]] = {}

    def add(self, tensor: Tensor) -> int:
        """Take a tensor of any shape, dtype and layout; returns its place in the results.

        Complex entries count as two real ones; a sparse tensor counts its implicit zeros.
        """
        seen = self._recent.get(id(tensor))
        if seen is not None and seen[0] is tensor:
            return seen[1]
        place = len(self._rows)
        with torch.no_grad():
            values = _entries(tensor)
            self._rows.append(_figures(values) if values.numel() else None)
        self._shapes.append(tuple(tensor.shape))
        self._sizes.append(values.numel())
        self._remember(tensor, place)
        return place

    def _remember(self, tensor: Tensor, place: int) -> None:
        """What leaves one node usually arrives at the next soon after, as the same object.

        Only the latest few are held, so that gradients are freed as the engine goes on.
        """
        self._recent[id(tensor)] = (tensor, place)
        if len(self._recent) > 8:
            del self._recent[next(iter(self._recent))]

    def results(self) -> list[Stats]:
        """The figures of all tensors in the order in which they were added."""
        self._recent.clear()
        computed = iter(_fetch([row for row in self._rows if row is not None]))
        rows = [None if row is None else next(computed) for row in self._rows]
        triples = zip(self._shapes, self._sizes, rows, strict=True)
        return [_stats(shape, size, row) for shape, size, row in triples]


def _entries(tensor: Tensor) -> Tensor:
    """All entries in a row, in the widest float that the device has."""
    values = tensor.detach()
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return values.reshape(-1).to(wide)


def _figures(values: Tensor) -> Tensor:
    """Norm, mean, standard deviation, least, largest, non-zeros, NaNs, infinities."""
    spread, mean = torch.var_mean(values, correction=0)
    least, largest = torch.aminmax(values)
    counts = (values != 0).sum(), values.isnan().sum(), values.isinf().sum()
    figures = (torch.linalg.vector_norm(values), mean, spread.sqrt(), least, largest)
    return torch.stack([*figures, *(count.to(values.dtype) for count in counts)])


def _fetch(rows: Sequence[Tensor]) -> list[list[float]]:
    """Bring all rows to the host: one copy for each device that has some."""
    if not rows:
        return []
    if len({row.device for row in rows}) == 1 and len({row.dtype for row in rows}) == 1:
        table: list[list[float]] = torch.stack(list(rows)).cpu().tolist()
        return table
    return [row.cpu().tolist() for row in rows]


def _stats(shape: tuple[int, ...], size: int, row: list[float] | None) -> Stats:
    """An empty tensor has norm and zeros 0; its mean, spread and range are NaN."""
    if row is None:
        nothing = math.nan
        return Stats(shape, 0.0, nothing, nothing, nothing, nothing, 0.0, 0, 0)
    norm, mean, std, least, largest, nonzero, nan, inf = row
    zeros = (size - int(nonzero)) / size
    return Stats(shape, norm, mean, std, least, largest, zeros, int(nan), int(inf))
