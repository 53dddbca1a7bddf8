"""Breaks a long picture into columns (or, where forward runs to the right, into rows).

A picture is cut only where no card is. A wire that is cut ends at a small numbered mark and goes
on from the same mark in the next column; a frame is cut with it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from mnist_cli.autograd.render.picture import Frame, Layout, Point, Wire

#: From this length on a picture is broken, if it is also much longer than wide.
LONG = 2600.0
_SLENDER = 2.2
_SHAPE = 1.3
_GAP = 56.0
_TAIL = 20.0


@dataclass(frozen=True)
class Mark:
    """Where a wire is cut: at the end of one column, and again at the start of the next."""

    number: int
    at: Point


@dataclass(frozen=True)
class Column:
    """A part of a picture and where it is moved to; wires and frames are cut to it."""

    shift: Point
    boxes: tuple[int, ...]
    frames: tuple[tuple[int, Frame], ...]
    wires: tuple[tuple[int, Wire], ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Columns:
    """A whole picture in columns, and its size."""

    width: float
    height: float
    parts: tuple[Column, ...]


def columns(plan: Layout) -> Columns:
    """Break a picture so that it becomes about as high as wide; a short one stays whole."""
    axis = _Axis(plan)
    cuts = axis.cuts()
    parts: list[Column] = []
    numbers: dict[tuple[int, float], int] = {}
    offset = longest = 0.0
    for start, end in pairwise([-math.inf, *cuts, math.inf]):
        part, low, high, top = axis.part(start, end, numbers)
        shift = (offset - low, -top)
        parts.append(replace(part, shift=axis.point(*shift)))
        offset += high - low + _GAP
        longest = max(longest, min(end + _TAIL, axis.length) - top)
    width, height = axis.point(max(offset - _GAP, 0.0), longest)
    return Columns(width, height, tuple(parts))


class _Axis:
    """One picture seen along its forward direction, whichever that is."""

    def __init__(self, plan: Layout) -> None:
        self.plan, self.down = plan, plan.direction == "down"
        self.length = plan.height if self.down else plan.width
        self.breadth = plan.width if self.down else plan.height
        self.boxes = [
            (b.y, b.y + b.card.height) if self.down else (b.x, b.x + b.card.width)
            for b in plan.boxes
        ]
        self.sides = [
            (b.x, b.x + b.card.width) if self.down else (b.y, b.y + b.card.height)
            for b in plan.boxes
        ]

    def point(self, across: float, along: float) -> Point:
        """A pair of across and along as x and y, and the other way round."""
        return (across, along) if self.down else (along, across)

    def cuts(self) -> list[float]:
        """Where to cut: near equal parts, where the fewest wires and frames' titles suffer."""
        if self.length < max(LONG, _SLENDER * self.breadth):
            return []
        count = max(1, round(math.sqrt(self.length * _SHAPE / (self.breadth + _GAP))))
        gaps = list(self._gaps())
        wires = [
            (self.point(*w.points[0])[1], self.point(*w.points[-1])[1]) for w in self.plan.wires
        ]
        frames = [self._span(frame) for frame in self.plan.frames]
        self._sorted = [
            (sorted(low for low, _ in spans), sorted(high for _, high in spans))
            for spans in (frames, wires)
        ]
        chosen: list[float] = []
        for i in range(1, count):
            goal, reach = self.length * i / count, self.length / count / 4
            near = [g for g in gaps if abs(g - goal) < reach]
            if near:
                chosen.append(min(near, key=lambda g: (self._cost(g), abs(g - goal))))
        return chosen

    def _gaps(self) -> Iterator[float]:
        """Where no card is: the middles of the stretches between cards and frames' borders."""
        borders = sorted(border for f in self.plan.frames for border in self._span(f))
        end = -math.inf
        for low, high in sorted(self.boxes):
            if low > end + 1 and end > -math.inf:
                inside = borders[bisect_right(borders, end) : bisect_left(borders, low)]
                yield from ((a + b) / 2 for a, b in pairwise([end, *inside, low]) if b - a > 8)
            end = max(end, high)

    def _cost(self, cut: float) -> int:
        """How much a cut breaks: each frame counts as much as three wires."""
        broken = [
            bisect_left(starts, cut) - bisect_right(ends, cut) for starts, ends in self._sorted
        ]
        return 3 * broken[0] + broken[1]

    def _span(self, frame: Frame) -> Point:
        low, size = (frame.y, frame.height) if self.down else (frame.x, frame.width)
        return low, low + size

    def part(
        self, start: float, end: float, numbers: dict[tuple[int, float], int]
    ) -> tuple[Column, float, float, float]:
        """What lies between two cuts, with its bounds: low and high across, and top."""
        boxes = [i for i, (low, _) in enumerate(self.boxes) if start <= low < end]
        frames = self._frames(start, end)
        wires, marks = [], []
        for i, wire in enumerate(self.plan.wires):
            points = [self.point(*p) for p in wire.points]
            if points[-1][1] <= start or points[0][1] >= end:
                continue
            kept = _between(points, start, end)
            for cut, place in ((start, kept[0]), (end, kept[-1])):
                if place[1] == cut:
                    number = numbers.setdefault((i, cut), len(numbers) + 1)
                    marks.append(Mark(number, self.point(*place)))
            wires.append((i, replace(wire, points=tuple(self.point(*p) for p in kept))))
        sides = [self.sides[i] for i in boxes]
        sides += [(f.x, f.x + f.width) if self.down else (f.y, f.y + f.height) for _, f in frames]
        sides += [(across, across) for _, w in wires for across, _ in map(self._flip, w.points)]
        low = min((a for a, _ in sides), default=0.0)
        high = max((b for _, b in sides), default=0.0)
        column = Column((0.0, 0.0), tuple(boxes), tuple(frames), tuple(wires), tuple(marks))
        return column, low, high, max(start - _TAIL, 0.0)

    def _flip(self, point: Point) -> Point:
        return self.point(*point)

    def _frames(self, start: float, end: float) -> list[tuple[int, Frame]]:
        """The frames cut to a column; of several cut at its start the innermost has the title."""
        spans = [self._span(frame) for frame in self.plan.frames]
        again = {i for i, (low, high) in enumerate(spans) if low < start < high}
        outer = {self.plan.frames[i].call.parent for i in again}
        return [
            (i, replace(self._cut(frame, start, end), titled=i not in outer or i not in again))
            for i, frame in enumerate(self.plan.frames)
            if spans[i][0] < end and spans[i][1] > start
        ]

    def _cut(self, frame: Frame, start: float, end: float) -> Frame:
        low, high = self._span(frame)
        low, high = max(low, start - _TAIL), min(high, end + _TAIL)
        if self.down:
            return replace(frame, y=low, height=high - low)
        return replace(frame, x=low, width=high - low)


def _between(points: list[Point], start: float, end: float) -> list[Point]:
    """A wire's points between two cuts: it runs straight on to the cut, and straight from it."""
    kept = [p for p in points if start < p[1] < end]
    for one, other in pairwise(points):
        if one[1] <= start < other[1]:
            kept.insert(0, (other[0], start))
        if one[1] < end <= other[1]:
            kept.append((one[0], end))
    return kept
