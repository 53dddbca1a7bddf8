"""Figures of many tensors with one wait for the device at the end.

Knows tensors and their figures, not nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mnist_cli.autograd.bits import entries, shape_of, without_values
from mnist_cli.autograd.graph import Stats

PENDING_ENTRIES = 4_000_000
"""Entries that may wait to be computed together: 32 MiB as float64."""

COPIED_ENTRIES = 65_536
"""Entries of a tensor that may change, up to which a copy waits for others of its size."""


@dataclass(frozen=True)
class _Waiting:
    """Tensors of one size, dtype and device, which become the rows of one matrix."""

    places: list[int]
    rows: list[Tensor]


class StatsCollector:
    """Takes tensors as they come, and answers with all their figures at once.

    Reductions run in float64 (float32 on devices without it), so that the norm of a large
    bfloat16 gradient is right. Tensors of one size are computed together: a graph of 3,000
    nodes has 8,000 small gradients, for which ten kernels each would be most of the cost.
    Until then they are held, up to :data:`PENDING_ENTRIES` in all. Nothing waits for the
    device until :meth:`results`. A tensor handed in again soon after is computed once.

    Attributes:
        hidden: by place, why a tensor has no figures, as on the meta device; they are NaN then.
    """

    def __init__(self) -> None:
        self.hidden: dict[int, str] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._sizes: list[int] = []
        self._waiting: dict[tuple[int, torch.dtype, torch.device], _Waiting] = {}
        self._pending = 0
        # The tensors themselves: of one that only its view held, AccumulateGrad would make
        # the parameter's .grad, and a second gradient would be added into it.
        self._held: list[Tensor] = []
        self._done: list[tuple[list[int], Tensor]] = []
        self._recent: dict[int, tuple[Tensor, int]] = {}

    def add(self, tensor: Tensor) -> int:
        """Take a tensor of any shape, dtype and layout; returns its place in the results.

        Complex entries count as two real ones; a sparse tensor counts its implicit zeros.
        """
        seen = self._recent.get(id(tensor))
        if seen is not None and seen[0] is tensor:
            return seen[1]
        place = len(self._shapes)
        if reason := without_values(tensor):
            self.hidden[place] = reason
            values = torch.empty(0)
        else:
            values = entries(tensor)
        self._shapes.append(shape_of(tensor) or ())
        self._sizes.append(values.numel())
        if values.numel():
            self._held.append(tensor)
            self._wait(place, values)
        # What leaves one node usually arrives at the next soon after, as the same object. Only the
        # latest few are held, so that gradients are freed as the engine goes on.
        self._recent[id(tensor)] = (tensor, place)
        if len(self._recent) > 8:
            del self._recent[next(iter(self._recent))]
        return place

    def add_now(self, tensor: Tensor) -> int:
        """Take the present entries of a tensor of any shape that may change before the results."""
        place = len(self._shapes)
        values = entries(tensor)
        self._shapes.append(shape_of(tensor) or ())
        self._sizes.append(values.numel())
        if values.numel() > COPIED_ENTRIES:
            self._done.append(([place], _figures(values[None])))
        elif values.numel():
            self._wait(place, values.clone())
        return place

    def _wait(self, place: int, values: Tensor) -> None:
        key = (values.numel(), values.dtype, values.device)
        group = self._waiting.setdefault(key, _Waiting([], []))
        group.places.append(place)
        group.rows.append(values)
        self._pending += values.numel()
        if self._pending >= PENDING_ENTRIES:
            self._compute()

    def _compute(self) -> None:
        with torch.no_grad():
            for group in self._waiting.values():
                self._done.append((group.places, _figures(torch.stack(group.rows))))
        self._waiting.clear()
        self._held.clear()
        self._pending = 0

    def results(self) -> list[Stats]:
        """The figures of all tensors in the order in which they were added."""
        self._compute()
        self._recent.clear()
        rows: list[list[float] | None] = [None] * len(self._shapes)
        for places, table in _fetch(self._done):
            for place, row in zip(places, table, strict=True):
                rows[place] = row
        found = [
            _stats(shape, size, row)
            for shape, size, row in zip(self._shapes, self._sizes, rows, strict=True)
        ]
        for place in self.hidden:
            found[place] = _unknown(self._shapes[place])
        return found


def _figures(rows: Tensor) -> Tensor:
    """Of each row: norm, mean, deviation, least, largest, non-zeros, NaNs, infinities."""
    values = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
    spread, mean = torch.var_mean(values, dim=1, correction=0)
    least, largest = torch.aminmax(values, dim=1)
    norm = torch.linalg.vector_norm(values, dim=1)
    counts = (values != 0).sum(1), values.isnan().sum(1), values.isinf().sum(1)
    figures = (norm, mean, spread.sqrt(), least, largest)
    return torch.stack([*figures, *(count.to(values.dtype) for count in counts)], dim=1)


def _fetch(done: list[tuple[list[int], Tensor]]) -> Iterator[tuple[list[int], list[list[float]]]]:
    """Bring all figures to the host: one copy for each device and dtype that has some."""
    kinds: dict[tuple[torch.device, torch.dtype], list[tuple[list[int], Tensor]]] = {}
    for places, table in done:
        kinds.setdefault((table.device, table.dtype), []).append((places, table))
    for group in kinds.values():
        every = [place for places, _ in group for place in places]
        yield every, torch.cat([table for _, table in group]).cpu().tolist()


def _stats(shape: tuple[int, ...], size: int, row: list[float] | None) -> Stats:
    """An empty tensor has norm and zeros 0; its mean, spread and range are NaN."""
    if row is None:
        return replace(_unknown(shape), norm=0.0, zeros=0.0)
    norm, mean, std, least, largest, nonzero, nan, inf = row
    zeros = (size - int(nonzero)) / size
    return Stats(shape, norm, mean, std, least, largest, zeros, int(nan), int(inf))


def _unknown(shape: tuple[int, ...]) -> Stats:
    nothing = math.nan
    return Stats(shape, nothing, nothing, nothing, nothing, nothing, nothing, 0, 0)
