from __future__ import annotations

import random
from itertools import combinations, pairwise

import numpy as np
import pytest
import render_graphs
from sklearn.isotonic import isotonic_regression

from mnist_cli.autograd.render import coordinates, layering
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.pen import path
from mnist_cli.autograd.render.picture import Layout, Point, Wire

GRAPHS = [
    render_graphs.network(),
    render_graphs.hostile(),
    render_graphs.chain(12),
    *(render_graphs.random_graph(seed, 8 + 9 * seed, modules=seed % 3 != 0) for seed in range(9)),
]
DIRECTIONS = ("down", "right")
Rect = tuple[float, float, float, float]


def boxes(plan: Layout) -> list[Rect]:
    return [(b.x, b.y, b.x + b.card.width, b.y + b.card.height) for b in plan.boxes]


def overlap(one: Rect, other: Rect, slack: float = 0.3) -> bool:
    return (
        one[0] + slack < other[2]
        and other[0] + slack < one[2]
        and one[1] + slack < other[3]
        and other[1] + slack < one[3]
    )


def sampled(wire: Wire, direction: str) -> list[Point]:
    """Points along a wire as it is drawn: straight runs, and bends as cubic curves."""
    result = []
    for (x0, y0), (x1, y1) in pairwise(wire.points):
        for i in range(9):
            t = i / 8
            straight, eased = t, 3 * (1 - t) * t**2 + t**3
            middle = 1.5 * (1 - t) ** 2 * t + 1.5 * (1 - t) * t**2 + t**3
            if direction == "down":
                x, y = x0 + (x1 - x0) * eased, y0 + (y1 - y0) * middle
            else:
                x, y = x0 + (x1 - x0) * middle, y0 + (y1 - y0) * eased
            if x0 == x1 or y0 == y1:
                x, y = x0 + (x1 - x0) * straight, y0 + (y1 - y0) * straight
            result.append((x, y))
    return result


def calls_around(plan: Layout, call: int | None) -> set[int]:
    found = set()
    while call is not None:
        found.add(call)
        call = plan.frames[call].call.parent
    return found


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("graph", GRAPHS)
class TestLayout:
    def test_no_two_cards_overlap_and_all_lie_in_the_picture(self, graph, direction) -> None:
        plan = layout(graph, direction=direction)
        rects = boxes(plan)
        assert not [pair for pair in combinations(range(len(rects)), 2)
                    if overlap(rects[pair[0]], rects[pair[1]])]  # fmt: skip
        for left, top, right, bottom in rects:
            assert min(left, top) >= -0.1
            assert right <= plan.width + 0.2
            assert bottom <= plan.height + 0.2

    def test_frames_hold_their_own_and_nothing_else(self, graph, direction) -> None:
        plan = layout(graph, direction=direction)
        frames = [(f.x, f.y, f.x + f.width, f.y + f.height) for f in plan.frames]
        for box, rect in zip(plan.boxes, boxes(plan), strict=True):
            around = calls_around(plan, box.call)
            for number, frame in enumerate(frames):
                inside = (
                    frame[0] <= rect[0] + 0.1
                    and frame[1] <= rect[1] + 0.1
                    and rect[2] <= frame[2] + 0.1
                    and rect[3] <= frame[3] + 0.1
                )
                assert inside if number in around else not overlap(frame, rect)

    def test_wires_begin_and_end_at_their_cards_and_cross_no_other(self, graph, direction) -> None:
        plan = layout(graph, direction=direction)
        rects = boxes(plan)
        for wire in plan.wires:
            source, target = rects[wire.source], rects[wire.target]
            (x0, y0), (x1, y1) = wire.points[0], wire.points[-1]
            if direction == "down":
                assert y0 == pytest.approx(source[3], abs=0.2)
                assert y1 == pytest.approx(target[1], abs=0.2)
                assert source[0] <= x0 <= source[2]
                assert target[0] <= x1 <= target[2]
            else:
                assert x0 == pytest.approx(source[2], abs=0.2)
                assert x1 == pytest.approx(target[0], abs=0.2)
                assert source[1] <= y0 <= source[3]
                assert target[1] <= y1 <= target[3]
            for x, y in sampled(wire, direction):
                hit = [
                    i
                    for i, r in enumerate(rects)
                    if r[0] + 0.3 < x < r[2] - 0.3 and r[1] + 0.3 < y < r[3] - 0.3
                ]
                assert not hit, (wire, hit)

    def test_forward_never_turns_back(self, graph, direction) -> None:
        plan = layout(graph, direction=direction)
        axis = 1 if direction == "down" else 0
        for wire in plan.wires:
            along = [point[axis] for point in wire.points]
            assert along == sorted(along)

    def test_borders_are_where_a_wire_crosses_its_frames(self, graph, direction) -> None:
        plan = layout(graph, direction=direction)
        for wire in plan.wires:
            source, target = (
                calls_around(plan, plan.boxes[box].call) for box in (wire.source, wire.target)
            )
            assert {frame for frame, _ in wire.borders} == source ^ target
            for number, index in wire.borders:
                frame, (x, y) = plan.frames[number], wire.points[index]
                leaving = number in source
                if direction == "down":
                    edge = frame.y + frame.height if leaving else frame.y
                    assert y == pytest.approx(edge, abs=0.3)
                else:
                    edge = frame.x + frame.width if leaving else frame.x
                    assert x == pytest.approx(edge, abs=0.3)


def test_a_bend_leaves_and_arrives_along_the_forward_direction() -> None:
    points = [(0, 0), (0, 4), (10, 24)]
    assert path(points, "down") == "M0 0L0 4C0 14 10 14 10 24"
    assert path(points, "right") == "M0 0L0 4C5 4 5 24 10 24"


def test_every_edge_is_drawn_and_far_shared_leaves_get_references() -> None:
    nexts: list[list[int | None]] = [[i + 1, 30] for i in range(29)] + [[30], []]
    graph = render_graphs.graph(nexts)
    plan = layout(graph)
    assert len(plan.wires) == graph.totals().edges
    for wire in plan.wires:
        edge = graph.nodes[wire.target].next[wire.position]
        assert edge is not None
        assert plan.boxes[wire.source].node == edge.node
    references = [b for b in plan.boxes if b.card.kind == "reference"]
    assert references
    assert {b.node for b in references} == {30}


def test_edges_across_a_huge_graph_do_not_take_unbounded_room() -> None:
    rng = random.Random(0)
    nexts: list[list[int | None]] = [
        [i + 1, rng.randrange(i + 1, 1500)] for i in range(1499)
    ] + [[]]  # fmt: skip
    plan = layout(render_graphs.graph(nexts))
    assert sum(len(w.points) for w in plan.wires) < 100_000
    assert any(b.card.kind == "reference" for b in plan.boxes)


def test_a_cycle_is_drawn_with_a_reference() -> None:
    looped = render_graphs.graph([[1], [2], [1, 3], []])
    assert len(layout(looped).wires) == 4


def test_the_longest_path_through_a_residual_network_is_straight() -> None:
    plan = layout(render_graphs.network())
    spine = {(1, 0), (5, 1), (6, 5), (7, 6), (9, 7), (10, 9)}
    for wire in plan.wires:
        if (wire.source, wire.target) in spine:
            assert len({x for x, _ in wire.points}) == 1, wire


@pytest.mark.parametrize("seed", range(20))
def test_spread_is_isotonic_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 30))
    wanted, weights = rng.normal(0, 50, size), rng.uniform(0.1, 9, size)
    apart = rng.uniform(1, 30, size - 1)
    offsets = np.concatenate([[0.0], np.cumsum(apart)])
    expected = isotonic_regression(wanted - offsets, sample_weight=weights) + offsets
    found = coordinates.spread(list(wanted), list(weights), list(apart))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_within_keeps_order_bounds_and_gaps(seed: int) -> None:
    rng = random.Random(seed)
    positions = sorted(rng.uniform(-100, 100) for _ in range(rng.randrange(1, 8)))
    found = coordinates.within(positions, -20, 20, 6)
    gap = min(6, 40 / max(len(positions) - 1, 1))
    assert all(-20 - 1e-9 <= x <= 20 + 1e-9 for x in found)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(found))


def crossings(layers: layering.Layers) -> int:
    """Pairs of segments between two layers that cross, counted one by one."""
    place = {v: i for row in layers.rows for i, v in enumerate(row)}
    rank = {v: r for r, row in enumerate(layers.rows) for v in row}
    return sum(
        (place[a.source] - place[b.source]) * (place[a.target] - place[b.target]) < 0
        for a, b in combinations(layers.segments, 2)
        if rank[a.source] == rank[b.source]
    )


def test_two_twisted_layers_are_untwisted() -> None:
    links = [layering.Link(0, 5), layering.Link(1, 4), layering.Link(2, 3), layering.Link(5, 6),
             layering.Link(4, 7), layering.Link(3, 8)]  # fmt: skip
    layers = layering.arrange(9, links, widths=[10.0] * 9)
    assert crossings(layers) == 0


@pytest.mark.parametrize("seed", range(6))
def test_every_link_goes_down_one_layer_at_a_time(seed: int) -> None:
    rng = random.Random(seed)
    links = [layering.Link(rng.randrange(i), i) for i in range(1, 25)]
    links += [layering.Link(rng.randrange(i - 1), i) for i in range(5, 25, 4)]
    layers = layering.arrange(25, links, widths=[10.0] * 25)
    rank = {v: r for r, row in enumerate(layers.rows) for v in row}
    assert sorted(v for v in rank if v < 25) == list(range(25))
    assert all(rank[s.target] == rank[s.source] + 1 for s in layers.segments)
