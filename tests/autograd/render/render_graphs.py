"""Gradient graphs for the renderers' tests: made by hand, at random, and from a real tensor."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mnist_cli.autograd.graph import (
    Comparison,
    Edge,
    GradGraph,
    Node,
    Parameter,
    Saved,
    Stats,
    TensorMeta,
    Verdict,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"]; evil [label="x',
    "<b onmouseover=alert(1)>&amp;",
    "-->",
    "`tick` $(x) {{data}} \\N \\",
    "line\nbreak\ttab",
    "\u202edrawkcab\u2066 \x1b[31mred\x00\ud800",
    "end",
    "#quot; ;; %% 'q'",
    "名前 ✓ é",
)


def stats(norm: float, shape: tuple[int, ...] = (2, 3), *, nan: int = 0) -> Stats:
    return Stats(shape, norm, 0.0, norm / 2, -norm, norm, 0.25, nan, 0)


def graph(nexts: Sequence[Sequence[int | None]], **changes: dict[int, Any]) -> GradGraph:
    """Nodes with these ``next``; nodes without are leaves. ``changes`` are fields by node.

    Sequence numbers fall with the ids, as they do where the walk starts from the loss.
    """
    nodes = []
    for i, inputs in enumerate(nexts):
        leaf = not inputs
        node = Node(
            id=i,
            name="AccumulateGrad" if leaf else f"Step{i}Backward0",
            parameter=f"p{i}" if leaf else None,
            sequence=None if leaf else len(nexts) - i,
            outputs=(TensorMeta((2, 3), "float32"),),
            next=tuple(None if n is None else Edge(n, 0) for n in inputs),
            grad_in=(stats(10.0 ** (i % 7 - 4)),),
            grad_out=tuple(None if n is None else stats(10.0 ** (i % 7 - 4)) for n in inputs),
        )
        nodes.append(replace(node, **{k: v[i] for k, v in changes.items() if i in v}))
    parameters = tuple(
        Parameter(n.parameter or "", n.id, (2, 3), n.grad_in[0] if n.grad_in else None, stats(2.0))
        for n in nodes
        if not n.next
    )
    return GradGraph(tuple(nodes), parameters, context={"model": "net", "loss": 0.5})


def network() -> GradGraph:
    """Two layers with weights and biases, and between them a residual block, all in modules.

    0 loss, 1-4 head (linear, bias, transpose, weight), 5 the block's sum, 6-8 the block's arm
    (relu, linear, weight), 9 relu that the arm and the sum share, 10-12 stem (linear, weight, bias).
    """
    nexts = [
        [1], [2, 5, 3], [], [4], [], [6, 9], [7], [9, 8], [], [10], [None, 11, 12], [], [],
    ]  # fmt: skip
    paths = {1: "head", 3: "head", 5: "block", 6: "block.relu", 7: "block.fc", 10: "stem"}
    names = {2: "head.bias", 4: "head.weight", 8: "block.fc.weight", 11: "stem.w", 12: "stem.b"}
    kept = {
        1: (Saved("mat1", (2, 3), "float32", 24, 0), Saved("mat2", (3, 3), "float32", 36, 1)),
        7: (Saved("mat1", (2, 3), "float32", 24, 0),),
    }
    return graph(nexts, module=paths, parameter=names, saved=kept)


def replayed(original: GradGraph, *, exact: bool = True) -> GradGraph:
    compared = tuple(
        Comparison(p.name, exact or i > 0, 0.0 if exact else 1e-3, 0 if exact else 4)
        for i, p in enumerate(original.parameters)
    )
    return replace(original, replay=Verdict(exact, len(original), compared))


def hostile() -> GradGraph:
    """The network with a name that breaks some syntax in every place that holds one."""
    plain = network()
    bad = lambda i: HOSTILE[i % len(HOSTILE)]  # noqa: E731
    nodes = tuple(
        replace(
            n,
            name=bad(n.id) + "Backward0" if n.next else "AccumulateGrad",
            module=f"{bad(n.id + 1)}.{bad(n.id + 2)}" if n.module else "",
            parameter=None if n.parameter is None else bad(n.id + 3),
            saved=tuple(replace(s, slot=bad(n.id), dtype=bad(n.id + 1)) for s in n.saved),
            attributes={bad(n.id): bad(n.id + 5), "dim": 1},
            outputs=(TensorMeta((2, 3), bad(n.id)),),
        )
        for n in plain.nodes
    )
    parameters = tuple(replace(p, name=bad(i)) for i, p in enumerate(plain.parameters))
    context = {key: bad(i) for i, key in enumerate(("model", "dataset", "device", "torch"))}
    unreadable = (HOSTILE[0],)
    return replayed(
        GradGraph(nodes, parameters, context={**context, "loss": 0.5}, unreadable=unreadable)
    )


def chain(length: int) -> GradGraph:
    """A straight line with one parameter at its end."""
    return graph([[i + 1] for i in range(length - 1)] + [[]])


def random_graph(seed: int, size: int, *, modules: bool = True) -> GradGraph:
    """A connected acyclic graph of random shape, with shared nodes and nested modules."""
    rng = random.Random(seed)
    nexts: list[list[int | None]] = [[] for _ in range(size)]
    for i in range(1, size):
        users = [u for u in range(max(0, i - rng.choice((3, 8, size))), i) if u < size * 0.8]
        for user in rng.sample(users or [0], min(len(users or [0]), rng.choice((1, 1, 1, 2, 3)))):
            nexts[user].append(i)
    for inputs in nexts:
        if inputs and rng.random() < 0.2:
            inputs.insert(rng.randrange(len(inputs) + 1), None)
        if inputs and rng.random() < 0.1:
            inputs.append(inputs[-1])
    paths = {}
    if modules:
        names = ["", "a", "a.b", "a.c", "d", "d.e.f", "d.e.g"]
        paths = {i: names[(i // 4) % len(names)] for i in range(size) if nexts[i]}
    return graph(nexts, module=paths)
