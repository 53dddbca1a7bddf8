"""Statistics of many tensors, with one wait for the device at the end.

Knows tensors and their statistics, not nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mnist_cli.autograd.bits import entries, is_plain, plain_parts, shape_of, without_values
from mnist_cli.autograd.graph import Stats

PENDING_ENTRIES = 4_000_000
"""Maximum number of entries that wait to be computed together: 32 MB as float64."""

COPIED_ENTRIES = 65_536
"""Maximum number of entries of a changing tensor whose copy waits for others of its size."""


_TOGETHER = 250_000
"""Number of entries computed together: 2 MB as float64, which stay in the processor's cache."""


class StatsCollector:
    """Collects tensors one by one, and returns the statistics of all at once.

    Reductions run in float64 (float32 on devices without it), so that the norm of a large
    bfloat16 gradient is right. Tensors of one size are computed together: a graph of 3,000
    nodes has 8,000 small gradients, and ten kernels for each would be most of the cost.
    Until then they are held, up to :data:`PENDING_ENTRIES` in all. Nothing waits for the
    device until :meth:`results`. A tensor handed in again soon after is computed once.

    Attributes:
        hidden: by place, why a tensor has no statistics, as on the meta device; they are NaN then. In
            the parts of a wrapper, such as a DTensor, NaN and infinity are counted all the same.
    """

    def __init__(self) -> None:
        self.hidden: dict[int, str] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._sizes: list[int] = []
        # By size, dtype and device: places, and tensors that become the rows of one matrix.
        self._waiting: dict[
            tuple[int, torch.dtype, torch.device], tuple[list[int], list[Tensor]]
        ] = {}
        self._pending = 0
        self._done: list[tuple[list[int], Tensor]] = []
        # By identity, with the tensors themselves: AccumulateGrad would turn a tensor that only
        # its view held into the parameter's .grad, and add a second gradient to it.
        self._known: dict[int, tuple[Tensor, int]] = {}

    def add(self, tensor: Tensor) -> int:
        """Take a tensor of any shape, dtype and layout; returns its place in the results.

        Complex entries count as two real ones; a sparse tensor counts its implicit zeros.
        """
        seen = self._known.get(id(tensor))
        if seen is not None:
            return seen[1]
        place = len(self._shapes)
        plain = is_plain(tensor)
        if plain:
            values = tensor
        elif reason := without_values(tensor):
            self.hidden[place] = reason
            parts = [part.reshape(-1) for part in plain_parts(tensor)]
            values = parts[0] if len(parts) == 1 else torch.cat(parts or [torch.empty(0)])
        else:
            values = entries(tensor)
        size = values.numel()
        self._shapes.append(tuple(tensor.shape) if plain else shape_of(tensor) or ())
        self._sizes.append(size)
        # What leaves one node usually arrives at the next soon after, as the same object.
        self._known[id(tensor)] = (tensor, place)
        if size:
            self._wait(place, values, size)
        elif not plain:
            self._hold(tensor.numel())
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
            self._wait(place, values.clone(), values.numel())
        return place

    def _wait(self, place: int, values: Tensor, size: int) -> None:
        kind = (size, values.dtype, values.device)
        places, rows = self._waiting.setdefault(kind, ([], []))
        places.append(place)
        rows.append(values)
        self._hold(size)

    def _hold(self, size: int) -> None:
        self._pending += size
        if self._pending >= PENDING_ENTRIES:
            self._compute()

    def _compute(self) -> None:
        with torch.no_grad():
            for places, rows in self._waiting.values():
                step = max(1, _TOGETHER // rows[0].numel())
                parts = [
                    _figures(_matrix(rows[start : start + step]))
                    for start in range(0, len(rows), step)
                ]
                self._done.append((places, torch.cat(parts)))
        self._waiting.clear()
        # Only the latest few stay, so that gradients are freed as the engine goes on.
        self._known = dict(list(self._known.items())[-8:])
        self._pending = 0

    def results(self) -> list[Stats]:
        """The statistics of all tensors in the order in which they were added."""
        self._compute()
        self._known.clear()
        rows: list[list[float] | None] = [None] * len(self._shapes)
        for places, table in _fetch(self._done):
            for place, row in zip(places, table, strict=True):
                rows[place] = row
        found = [
            _stats(shape, size, row)
            for shape, size, row in zip(self._shapes, self._sizes, rows, strict=True)
        ]
        for place in self.hidden:
            counted = found[place]
            found[place] = replace(_unknown(self._shapes[place]), nan=counted.nan, inf=counted.inf)
        return found


def _matrix(rows: list[Tensor]) -> Tensor:
    """Tensors of one size, of any shape, as the rows of a matrix (K, N)."""
    if len(rows) == 1:  # a copy may not fit into memory
        return rows[0].reshape(1, -1)
    if len({row.shape for row in rows}) > 1:
        rows = [row.reshape(-1) for row in rows]
    return torch.stack(rows).reshape(len(rows), -1)


def _figures(rows: Tensor) -> Tensor:
    """Of each row (K, N): norm, mean, standard deviation, least, largest, non-zeros, NaNs, infinities.

    Returns (K, 8), float64; float32 on MPS.
    """
    size = PENDING_ENTRIES if rows.device.type == "cpu" else 2**26
    if rows.shape[1] > size:
        return torch.cat([_joined(row.split(size)) for row in rows])
    values = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
    norms = _exact_norms if rows.dtype == torch.float64 else _norms
    mean, deviation = _mean_and_deviation(values, norms)
    # A twentieth of the time of torch.aminmax and of torch.var_mean along rows (torch 2.14, CPU).
    least, largest = values.amin(dim=1), values.amax(dim=1)
    norm = norms(values)
    counts = (rows != 0).sum(1), *_not_finite(values, norm)
    figures = (norm, mean, deviation, least, largest)
    return torch.stack([*figures, *(count.to(values.dtype) for count in counts)], dim=1)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """:func:`_figures` (1, 8) of a long row, from its parts (N,): at once, it needs 5 times its memory."""
    table = torch.cat([_figures(part[None]) for part in parts])
    norm, mean, deviation, least, largest = table[:, :5].unbind(1)
    sizes = torch.tensor([len(part) for part in parts], dtype=table.dtype, device=table.device)
    share = sizes / sizes.sum()
    norms = _exact_norms if parts[0].dtype == torch.float64 else _norms
    start = mean[0].masked_fill(~mean[0].isfinite(), 0.0)
    middle = start + ((mean - start) * share).sum()
    spread = torch.cat([deviation, mean - middle]) * share.sqrt().repeat(2)
    both = norms(norm[None])[0], middle, norms(spread[None])[0], least.min(), largest.max()
    return torch.cat([torch.stack(both), table[:, 5:].sum(0)])[None]


def _norms(values: Tensor) -> Tensor:
    """The 2-norm (K,) of each row (K, N)."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=1)
    return norm


def _exact_norms(values: Tensor) -> Tensor:
    """:func:`_norms` of float64 rows (K, N); on a CPU right even if squares underflow or overflow."""
    norm = _norms(values)
    odd = (norm < 1e-146) | norm.isinf()
    if norm.device.type == "cpu" and bool(odd.any()):  # elsewhere it would wait
        rows = values[odd]
        scale = rows.abs().amax(dim=1)
        scale.masked_fill_((scale == 0) | scale.isinf(), 1.0)
        norm[odd] = scale * _norms(rows / scale[:, None])
    return norm


def _mean_and_deviation(values: Tensor, norms: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (K,) of rows (K, N); exactly 0 for equal entries."""
    first = values[:, :1]
    start = first.masked_fill(~first.isfinite(), 0.0)
    shifted = values - start
    mean = shifted.mean(dim=1, keepdim=True)
    # Not the root of the mean square: that would overflow from 1e154 on.
    deviation = norms(shifted.sub_(mean)) / math.sqrt(values.shape[1])
    return (start + mean).squeeze(1), deviation


def _not_finite(values: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """How many NaNs and infinities each row (K, N) has; none where all norms are finite."""
    if norm.device.type == "cpu" and bool(norm.isfinite().all()):  # else this would wait
        nothing = torch.zeros_like(norm)
        return nothing, nothing
    return values.isnan().sum(1), values.isinf().sum(1)


def _fetch(done: list[tuple[list[int], Tensor]]) -> Iterator[tuple[list[int], list[list[float]]]]:
    """Bring all statistics to the host: one copy for each device and dtype."""
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
