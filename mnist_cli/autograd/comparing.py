"""Two graphs side by side: which nodes belong together, and the first that differs.

Works on plain data, such as dumps read back. Imports no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from mnist_cli.autograd.aligning import aligned
from mnist_cli.autograd.brief import shortened
from mnist_cli.autograd.diagnosing import place_of
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import GradGraph, Node, Stats, check_graphs, joint_norm
from mnist_cli.autograd.order import backward_order, calls_by_end, operations


@dataclass(frozen=True)
class NodeDifference:
    """Two matching nodes, and how much the gradients that arrive at them differ.

    ``difference`` is relative: 0 for equal statistics, infinite if only one is finite, or if a
    gradient arrives at only one of the nodes. ``figure`` names the statistic that differs most.
    """

    first: int
    second: int
    name: str
    module: str
    difference: float
    figure: str
    first_norm: float | None
    second_norm: float | None


@dataclass(frozen=True)
class ParameterDifference:
    """One parameter's gradient in both graphs."""

    name: str
    difference: float
    figure: str
    first_norm: float | None
    second_norm: float | None


@dataclass(frozen=True)
class ActivationDifference:
    """A module's call and how much its outputs differ; ``figure`` names what differs most."""

    module: str
    call: int
    difference: float
    figure: str


@dataclass(frozen=True)
class GraphComparison:
    """Two graphs compared.

    Attributes:
        nodes: every aligned pair, in the order of the backward pass.
        parameters: every parameter that both have.
        structure: a sentence for each part that has no counterpart.
        first: the first pair in the backward pass that differs by more than ``tolerance``.
        tolerance: relative differences up to this are ignored.
        activation: the first call, by its end, whose output differs by more than ``tolerance``;
            None if no call that both graphs have differs.
    """

    nodes: tuple[NodeDifference, ...]
    parameters: tuple[ParameterDifference, ...]
    structure: tuple[str, ...]
    first: NodeDifference | None
    tolerance: float
    activation: ActivationDifference | None = None

    def __repr__(self) -> str:
        if self.same:
            return f"GraphComparison(the same: {len(self.nodes)} nodes)"
        facts = [f"{len(self.structure)} differences of structure"] if self.structure else []
        if self.first is not None:
            facts += [
                f"first in {shortened(self.first.name)}, {shortened(self.first.module)} "
                f"(#{self.first.first} and #{self.first.second}): {self.first.figure} by "
                f"{self.first.difference:.3g}"
            ]
        return f"GraphComparison({'; '.join(facts) or 'the parameters differ'})"

    @property
    def same(self) -> bool:
        """Whether the graphs have the same structure, and statistics equal within the tolerance."""
        within = all(one.difference <= self.tolerance for one in self.parameters)
        return self.first is None and not self.structure and within


def compare(first: GradGraph, second: GradGraph, tolerance: float = 1e-9) -> GraphComparison:
    """Align two graphs node by node and compare the gradients that arrive at each.

    Two nodes match if they have the same name in the same module at the same place of the forward
    order. Two leaves match if they are the same parameter. Nodes that only one graph has,
    such as the casts of another precision, are listed in ``structure`` and not compared.

    Args:
        first: a graph, recorded or not.
        second: another one.
        tolerance: relative difference up to which statistics count as equal; the default allows
            for their rounding. Two gradients with equal statistics may still differ entry by
            entry.

    Raises:
        UsageError: the tolerance is negative or NaN.
        TypeError: one is not a graph.
    """
    check_graphs(first, second)
    if not tolerance >= 0:
        raise UsageError(f"the tolerance is {tolerance}", "Give a number of at least 0.")
    pairs, structure = _match(operations(first), operations(second))
    leaves, others = _leaves(first), _leaves(second)
    pairs += [(node, others[key]) for key, node in leaves.items() if key in others]
    rank = {node.id: place for place, node in enumerate(backward_order(first))}
    pairs.sort(key=lambda pair: rank[pair[0].id])
    nodes = tuple(_node_difference(a, b) for a, b in pairs)
    return GraphComparison(
        nodes=nodes,
        parameters=tuple(_parameter_differences(first, second)),
        structure=(*structure, *_edges(pairs), *_missing(first, second)),
        first=next((one for one in nodes if one.difference > tolerance), None),
        tolerance=tolerance,
        activation=_activation(first, second, tolerance),
    )


Pairs = list[tuple[Node, Node]]


def _leaves(graph: GradGraph) -> dict[tuple[str, int], Node]:
    """Leaves by name and place; a leaf whose dtype changed has a node for each dtype."""
    found: dict[tuple[str, int], Node] = {}
    counts: Counter[str] = Counter()
    for node in graph.nodes:
        if node.parameter is not None:
            found[node.parameter, counts[node.parameter]] = node
            counts[node.parameter] += 1
    return found


def _match(ours: list[Node], theirs: list[Node]) -> tuple[Pairs, list[str]]:
    keys, other_keys = ([(n.module, n.name) for n in nodes] for nodes in (ours, theirs))
    pairs: Pairs = []
    notes: list[str] = []
    a = b = 0
    for i, j in [*aligned(keys, other_keys), (len(ours), len(theirs))]:
        if a < i or b < j:
            found, said = _unequal(ours[a:i], theirs[b:j])
            pairs += found
            notes += said
        pairs += zip(ours[i : i + 1], theirs[j : j + 1], strict=True)
        a, b = i + 1, j + 1
    return pairs, notes


def _unequal(ours: Sequence[Node], theirs: Sequence[Node]) -> tuple[Pairs, list[str]]:
    """Pairs and notes of a stretch without equal nodes: other kernels, or nodes of one graph only."""
    if len(ours) == len(theirs) and all(map(_replaces, ours, theirs)):
        named = [
            f"{place_of(a)}, is {b.name} in the second" for a, b in zip(ours, theirs, strict=True)
        ]
        return list(zip(ours, theirs, strict=True)), named
    notes = [f"only in the first: {place_of(node)}" for node in ours]
    return [], notes + [f"only in the second: {place_of(node)}" for node in theirs]


def _replaces(a: Node, b: Node) -> bool:
    shapes = [meta.shape for meta in a.outputs], [meta.shape for meta in b.outputs]
    return a.module == b.module and shapes[0][:1] == shapes[1][:1]


def _edges(pairs: Pairs) -> Iterator[str]:
    """A sentence for each difference between the edges or shapes of aligned nodes."""
    partner = {a.id: b.id for a, b in pairs}
    taken = set(partner.values())
    for a, b in pairs:
        for position, (ours, theirs) in enumerate(zip(a.next, b.next, strict=False)):
            if (ours is None) != (theirs is None):
                has = "first" if ours else "second"
                yield f"{place_of(a)}: result {position} has a target only in the {has}"
            elif ours is not None and theirs is not None:
                both = ours.node in partner and theirs.node in taken
                if both and partner[ours.node] != theirs.node:
                    yield f"{place_of(a)}: result {position} goes to another node in the second"
        if len(a.next) != len(b.next):
            yield f"{place_of(a)}: {len(a.next)} results in the first, {len(b.next)} in the second"
        for nr, (x, y) in enumerate(zip(a.outputs, b.outputs, strict=False)):
            if x.shape != y.shape:
                shapes = f"{x.shape} in the first, {y.shape} in the second"
                yield f"{place_of(a)}: input {nr} has shape {shapes}"


def _missing(first: GradGraph, second: GradGraph) -> Iterator[str]:
    ours, theirs = ({p.name for p in graph.parameters} for graph in (first, second))
    yield from (f"parameter only in the first: {name}" for name in sorted(ours - theirs))
    yield from (f"parameter only in the second: {name}" for name in sorted(theirs - ours))


@dataclass(frozen=True)
class _Gap:
    difference: float = 0.0
    figure: str = ""


def _node_difference(a: Node, b: Node) -> NodeDifference:
    recorded = a.grad_in and b.grad_in
    gaps = [_gap(x, y) for x, y in zip_longest(a.grad_in, b.grad_in)] if recorded else []
    worst = max(gaps, key=lambda gap: gap.difference, default=_Gap())
    return NodeDifference(
        first=a.id,
        second=b.id,
        name=a.name if a.parameter is None else f"{a.name} of {a.parameter}",
        module=a.module,
        difference=worst.difference,
        figure=worst.figure,
        first_norm=joint_norm(a.grad_in),
        second_norm=joint_norm(b.grad_in),
    )


def _parameter_differences(first: GradGraph, second: GradGraph) -> Iterator[ParameterDifference]:
    others = {one.name: one for one in second.parameters}
    for one in first.parameters:
        other = others.get(one.name)
        if other is not None and not (one.frozen and other.frozen):
            gap = _gap(one.grad, other.grad)
            norms = (grad.norm if grad else None for grad in (one.grad, other.grad))
            yield ParameterDifference(one.name, gap.difference, gap.figure, *norms)


def _activation(
    first: GradGraph, second: GradGraph, tolerance: float
) -> ActivationDifference | None:
    others = {(one.module, one.call): one for one in second.modules}
    for call in calls_by_end(first.modules):
        other = others.get((call.module, call.call))
        if other is not None and call.activation and other.activation:
            gap = _gap(call.activation, other.activation)
            if gap.difference > tolerance:
                return ActivationDifference(call.module, call.call, gap.difference, gap.figure)
    return None


def _gap(a: Stats | None, b: Stats | None) -> _Gap:
    """The statistic that differs most, relative to the larger norm or the largest entry."""
    if a is None or b is None:
        return _Gap() if a is b else _Gap(math.inf, "presence")
    if (a.nan, a.inf) != (b.nan, b.inf):
        return _Gap(math.inf, "finite entries")
    largest = max(map(abs, (a.min, a.max, b.min, b.max)))
    gaps = [_Gap(_relative(a.norm, b.norm, max(a.norm, b.norm)), "norm")]
    gaps += [
        _Gap(_relative(getattr(a, name), getattr(b, name), largest), name)
        for name in ("mean", "std", "min", "max")
    ]
    gaps.append(_Gap(abs(a.zeros - b.zeros), "zeros"))
    return max(gaps, key=lambda gap: gap.difference)


def _relative(a: float, b: float, scale: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    gap = abs(a - b) / scale if scale else math.inf
    return math.inf if math.isnan(gap) else gap
