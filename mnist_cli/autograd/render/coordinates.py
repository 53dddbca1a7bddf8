"""Positions across the layers: each vertex as near as possible to its linked vertices.

Each layer is solved exactly. Its weighted least-squares positions, with given order and minimum
distances, are an isotonic regression, found by pooling adjacent violators (Ayer and others,
1955). Sweeping over the layers a few times straightens the chains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from mnist_cli.autograd.render.layering import Layers

_MEAN_SWEEPS = 4
_MEDIAN_SWEEPS = 6


def spread(
    wanted: Sequence[float], weights: Sequence[float], distances: Sequence[float]
) -> list[float]:
    """Positions nearest to ``wanted``, with ``distances[i]`` at least between i and i + 1."""
    offsets = [0.0]
    for distance in distances[: len(wanted) - 1]:
        offsets.append(offsets[-1] + distance)
    blocks: list[tuple[float, float, int]] = []
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        mean, total, count = want - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, other_total, other_count = blocks.pop()
            both = total + other_total
            mean = (mean * total + other * other_total) / both
            total, count = both, count + other_count
        blocks.append((mean, total, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def within(positions: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Positions in order between two bounds, at least ``gap`` apart if there is room."""
    room = max(high - low, 0.0)
    gap = min(gap, room / max(len(positions) - 1, 1))
    clamped = [min(max(p, low), high) for p in positions]
    free = spread(clamped, [1.0] * len(clamped), [gap] * len(clamped))
    last = len(free) - 1
    return [min(max(p, low + i * gap), high - (last - i) * gap) for i, p in enumerate(free)]


def across(
    layers: Layers, widths: Sequence[float], gap: Callable[[int, int], float]
) -> dict[int, float]:
    """The centre of every item and placeholder, in units of length.

    Args:
        layers: the vertices of each layer, in order.
        widths: of the items; placeholders have none.
        gap: the free space to keep between two neighbours of a layer.
    """

    def width(vertex: int) -> float:
        return widths[vertex] if vertex < layers.items else 0.0

    distances = [
        [(width(a) + width(b)) / 2 + gap(a, b) for a, b in pairwise(row)] for row in layers.rows
    ]
    position: dict[int, float] = {}
    for row, apart in zip(layers.rows, distances, strict=True):
        start = -sum(apart) / 2
        evenly = spread([start] * len(row), [1.0] * len(row), apart)
        position.update(zip(row, evenly, strict=True))
    for sweep in range(_MEAN_SWEEPS + _MEDIAN_SWEEPS):
        exact = sweep >= _MEAN_SWEEPS
        order = range(len(layers.rows)) if sweep % 2 else range(len(layers.rows) - 1, -1, -1)
        for i in order:
            _settle(
                layers, layers.rows[i], distances[i], position, downwards=sweep % 2, exact=exact
            )
    return position


def _settle(
    layers: Layers,
    row: Sequence[int],
    apart: Sequence[float],
    position: dict[int, float],
    *,
    downwards: int,
    exact: bool,
) -> None:
    """Move one layer towards its neighbours; the layer settled last counts the most."""
    wanted, weights = [], []
    up, down = (1.0, 0.25) if downwards else (0.25, 1.0)
    for vertex in row:
        above, below = layers.above.get(vertex, ()), layers.below.get(vertex, ())
        pulls = [(position[s.source] + s.start - s.end, s.weight * up) for s in above]
        pulls += [(position[s.target] + s.end - s.start, s.weight * down) for s in below]
        total = sum(weight for _, weight in pulls)
        if not pulls:
            wanted.append(position[vertex])
        elif exact:
            wanted.append(_median(pulls))
        else:
            wanted.append(sum(p * w for p, w in pulls) / total)
        weights.append(total or 0.01)
    position.update(zip(row, spread(wanted, weights, apart), strict=True))


def _median(pulls: list[tuple[float, float]]) -> float:
    """The weighted median; the middle of two if they balance."""
    pulls = sorted(pulls)
    half, passed = sum(weight for _, weight in pulls) / 2, 0.0
    for i, (place, weight) in enumerate(pulls):
        passed += weight
        if passed > half + 1e-9:
            return place
        if passed > half - 1e-9:
            return (place + pulls[min(i + 1, len(pulls) - 1)][0]) / 2
    return pulls[-1][0]
