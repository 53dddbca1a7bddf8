from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import render_graphs

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render.columns import LONG, columns
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.picture import Layout

LONG_GRAPHS = [
    render_graphs.chain(90),
    render_graphs.random_graph(11, 220),
    render_graphs.random_graph(12, 300, modules=False),
]
DIRECTIONS = ("down", "right")


def along(plan: Layout) -> int:
    return 1 if plan.direction == "down" else 0


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("graph", LONG_GRAPHS)
class TestLongPictures:
    def test_become_about_as_high_as_wide(self, graph: GradGraph, direction) -> None:
        plan = layout(graph, direction=direction)
        length, breadth = plan.width, plan.height
        if direction == "down":
            length, breadth = breadth, length
        assert length > LONG
        if length < 4 * breadth:
            return
        broken = columns(plan)
        assert len(broken.parts) > 1
        sides = sorted((broken.width, broken.height))
        assert sides[1] / sides[0] < 4
        assert sides[1] / sides[0] < length / breadth

    def test_show_every_card_once_and_whole(self, graph: GradGraph, direction) -> None:
        plan = layout(graph, direction=direction)
        broken = columns(plan)
        shown = Counter(i for part in broken.parts for i in part.boxes)
        assert shown == Counter(range(len(plan.boxes)))
        for part in broken.parts:
            for i in part.boxes:
                box = plan.boxes[i]
                x, y = box.x + part.shift[0], box.y + part.shift[1]
                assert x >= -0.2
                assert y >= -0.2
                assert x + box.card.width <= broken.width + 0.2
                assert y + box.card.height <= broken.height + 0.2

    def test_do_not_overlap_each_other(self, graph: GradGraph, direction) -> None:
        plan = layout(graph, direction=direction)
        axis = 1 - along(plan)
        spans = []
        for part in columns(plan).parts:
            ends = [
                (f.x, f.x + f.width) if axis == 0 else (f.y, f.y + f.height) for _, f in part.frames
            ]
            for i in part.boxes:
                box = plan.boxes[i]
                ends.append(
                    (box.x, box.x + box.card.width)
                    if axis == 0
                    else (box.y, box.y + box.card.height)
                )
            ends += [(p[axis], p[axis]) for _, w in part.wires for p in w.points]
            shift = part.shift[axis]
            spans.append((min(a for a, _ in ends) + shift, max(b for _, b in ends) + shift))
        assert all(a[1] < b[0] for a, b in pairwise(spans))

    def test_mark_both_ends_of_every_cut(self, graph: GradGraph, direction) -> None:
        plan = layout(graph, direction=direction)
        parts = columns(plan).parts
        marks = Counter(m.number for part in parts for m in part.marks)
        assert set(marks.values()) <= {2}
        for part in parts:
            ends = {p for _, w in part.wires for p in (w.points[0], w.points[-1])}
            assert all(mark.at in ends for mark in part.marks)
        pieces = Counter(i for part in parts for i, _ in part.wires)
        assert sum(pieces.values()) - len(plan.wires) == len(marks)
        # The outer ends of the pieces are the wire's own.
        for number, wire in enumerate(plan.wires):
            mine = [w for part in parts for i, w in part.wires if i == number]
            assert mine[0].points[0] == wire.points[0]
            assert mine[-1].points[-1] == wire.points[-1]

    def test_title_each_cut_frame_once_a_column(self, graph: GradGraph, direction) -> None:
        plan = layout(graph, direction=direction)
        for part in columns(plan).parts:
            places = Counter((f.x, f.y) for _, f in part.frames if f.titled)
            assert set(places.values()) <= {1}


def test_a_short_picture_stays_whole() -> None:
    plan = layout(render_graphs.network())
    broken = columns(plan)
    assert len(broken.parts) == 1
    assert broken.parts[0].marks == ()
    assert [w for _, w in broken.parts[0].wires] == list(plan.wires)
    assert (broken.width, broken.height) == pytest.approx((plan.width, plan.height), abs=1)
