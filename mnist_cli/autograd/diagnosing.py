"""The health of a network by its recorded graph: a table, and diagnoses in sentences.

Works on plain data, such as a dump read back. Imports no torch and prints nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from mnist_cli.autograd.advising import DATA, FOLLOWS, PARAMETER, advice
from mnist_cli.autograd.blocking import (
    BLOCKED,
    SATURATED,
    DeadUnits,
    blocked_share,
    has_no_units,
    is_relu,
    saturated_share,
)
from mnist_cli.autograd.brief import Brief
from mnist_cli.autograd.graph import Edge, GradGraph, Node, Parameter, Stats, check_graphs
from mnist_cli.autograd.order import backward_order

VANISHING = 1e-4
"""Smallest root mean square of a weight's gradient, as a share of the largest one in the network.

Eight sigmoids one after another shrink a gradient by at least 4**-8 = 1.5e-5 (the slope is 1/4 at
most); sound networks stay within 1e-3.
"""
EXPLODING = 100.0
"""Largest norm of a weight's gradient over the norm of the weight. At 100, one plain step with a
learning rate of 0.01 is as large as the weights themselves."""
NEAR_ZERO = 1e-5
"""Root mean square below which a weight is not compared with its gradient: some weights start near
zero on purpose, such as ViT's class token."""


@dataclass(frozen=True)
class ParameterRow:
    """One parameter's gradient beside its weight; None if a figure does not exist.

    ``ratio`` is gradient norm over weight norm, ``rms`` the gradient's root mean square, and
    ``dead`` the share of its entries that are exactly zero.
    """

    name: str
    shape: tuple[int, ...]
    grad_norm: float | None
    weight_norm: float | None
    ratio: float | None
    rms: float | None
    dead: float | None


@dataclass(frozen=True)
class Diagnosis:
    """A finding as a sentence.

    ``kind`` is one of ``not-finite``, ``vanishing``, ``exploding``, ``dead-relu``,
    ``saturated``, ``no-gradient``, ``zero-gradient``, ``overwritten``, ``freed``; ``subject`` names
    the parameter, module or node.
    ``module`` is where it is, empty outside of all modules; ``advice`` says what to try.
    """

    kind: str
    subject: str
    message: str
    node: int | None = None
    module: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message} {self.advice}".rstrip()


def advised(findings: Sequence[Diagnosis]) -> Iterator[tuple[Diagnosis, str]]:
    """Each finding with its advice, which is empty if the next finding has the same."""
    for one, following in zip_longest(findings, findings[1:]):
        same = following is not None and following.advice == one.advice
        yield one, "" if same else one.advice


def parameter_table(graph: GradGraph) -> tuple[ParameterRow, ...]:
    """A row for each parameter that requires a gradient, in the model's order."""
    check_graphs(graph)
    return Brief(parameter_row(one) for one in graph.parameters if not one.frozen)


def parameter_row(one: Parameter) -> ParameterRow:
    """A parameter's row, also if it is frozen."""
    grad, weight = one.grad, one.weight
    ratio = grad.norm / weight.norm if grad and weight and weight.norm else None
    return ParameterRow(
        name=one.name,
        shape=one.shape,
        grad_norm=grad.norm if grad else None,
        weight_norm=weight.norm if weight else None,
        ratio=ratio,
        rms=_rms(grad) if grad else None,
        dead=grad.zeros if grad else None,
    )


@dataclass(frozen=True)
class FirstBad:
    """Where the forward pass first shows a NaN or an infinity.

    Attributes:
        node: id of the node.
        slot: the saved tensor that holds it.
        made_here: whether the node's result is bad although it saves inputs, and they are finite.
    """

    node: int
    slot: str
    module: str
    made_here: bool


def diagnose(
    graph: GradGraph,
    dead_units: Mapping[int, DeadUnits] | None = None,
    first_bad: FirstBad | None = None,
    loss_scale: float = 1.0,
) -> tuple[Diagnosis, ...]:
    """Every finding, the gravest first; empty for a healthy network.

    Args:
        graph: a recorded graph.
        dead_units: for ReLU nodes by id, the units counted from the gradients themselves
            (:func:`mnist_cli.autograd.units.dead_units`); without it, shares of entries decide.
        first_bad: the first NaN or infinity of the forward pass
            (:func:`mnist_cli.autograd.units.first_not_finite`).
        loss_scale: factor by which the loss was multiplied, as by a ``GradScaler``.
    """
    check_graphs(graph)
    return Brief(
        [
            *_not_finite_weights(graph),
            *(_not_finite_forward(graph, first_bad) if first_bad else ()),
            *_not_finite(graph, FOLLOWS if first_bad else ""),
            *_no_gradient(graph),
            *_scale(graph, loss_scale),
            *_saturated(graph),
            *_dead_relus(graph, dead_units or {}),
        ]
    )


def of_node(kind: str, node: Node, message: str) -> Diagnosis:
    """A finding about a node."""
    subject = node.module or node.name
    return Diagnosis(kind, subject, message, node.id, node.module, advice(kind, node.name))


def _of_parameter(kind: str, one: Parameter, message: str) -> Diagnosis:
    module = one.name.rpartition(".")[0]
    return Diagnosis(kind, one.name, message, one.node, module, advice(kind, PARAMETER))


def place_of(node: Node) -> str:
    """A node for a sentence: ``node 3, AddmmBackward0 in fc1``."""
    where = f" in {node.module}" if node.module else ""
    return f"node {node.id}, {node.name}{where}"


def _not_finite_forward(graph: GradGraph, first: FirstBad) -> Iterator[Diagnosis]:
    """The node of the forward pass where the first NaN or infinity is seen."""
    node = graph.nodes[first.node]
    before = [graph.nodes[edge.node] for edge in _edges_into(node, first.slot) if edge is not None]
    makers = [source_of(graph, one) for one in before if not _of_leaves_only(graph, one)]
    what = f"produced NaN or infinity from finite values ({first.slot})"
    if not first.made_here:
        source = f"; {place_of(makers[0])}, comes before it" if len(makers) == 1 else ""
        if not makers and not first.slot.startswith("result"):
            source = "; it comes from the data or from a parameter"
        what = f"holds NaN or infinity ({first.slot}){source}"
    message = f"First in the forward pass: {place_of(node)}, {what}."
    found = of_node("not-finite", node, message)
    received = not first.made_here and not first.slot.startswith("result")
    made_by = "" if makers else DATA
    if len(makers) == 1 and _keeps_its_inputs(makers[0]):
        made_by = makers[0].name
    yield replace(found, advice=advice("not-finite", made_by)) if received else found


def _edges_into(node: Node, slot: str) -> tuple[Edge | None, ...]:
    """The edge to the input that the saved tensor ``slot`` holds; all edges if its name does not tell."""
    if slot not in _INPUTS or not node.next:
        return node.next
    place = min(_INPUTS[slot], len(node.next) - 1)  # mm has no bias before mat1 and mat2
    return node.next[place : place + 1]


_INPUTS = (
    dict.fromkeys(("self", "input", "query"), 0)
    | dict.fromkeys(("other", "key", "target", "exponent", "end", "mat1", "batch1", "tensor1"), 1)
    | dict.fromkeys(("value", "mat2", "vec", "batch2", "tensor2"), 2)
)
"""Positions of the inputs that saved tensors of these names hold."""


def _keeps_its_inputs(node: Node) -> bool:
    """Whether a node saves as many tensors as it has inputs, so that a NaN in one is found there."""
    return sum(one.dtype != "bool" for one in node.saved) >= len(node.next)


def _of_leaves_only(graph: GradGraph, node: Node) -> bool:
    """Whether a node is a leaf, or only turns or casts one, as ``TBackward0`` does."""
    return source_of(graph, node).parameter is not None


def source_of(graph: GradGraph, node: Node) -> Node:
    """The node that feeds a node, past views and casts, which save nothing."""
    edges = [edge for edge in node.next if edge is not None]
    while len(edges) == 1 and not node.saved and node.name.partition("Backward")[0] in _PASSING:
        node = graph.nodes[edges[0].node]
        edges = [edge for edge in node.next if edge is not None]
    return node


_PASSING = {"T", "ToCopy", "Transpose", "Permute", "View", "UnsafeView", "Clone"}
"""Operations that pass each value on, except for rounding: their nodes' names before ``Backward``."""


def _not_finite_weights(graph: GradGraph) -> Iterator[Diagnosis]:
    """The parameters that are not finite themselves; a frozen one may be a mask of infinities."""
    weights = [(one, one.weight) for one in graph.parameters if one.weight is not None]
    bad = [(one, w) for one, w in weights if w.nan or (w.inf and not one.frozen)]
    for one, weight in bad[:1]:
        more = f" So are {len(bad) - 1} more parameters." if len(bad) > 1 else ""
        message = f"{one.name} itself is not finite: {weight.nan} NaN and {weight.inf} Inf.{more}"
        yield _of_parameter("not-finite", one, message)


def _not_finite(graph: GradGraph, follows: str = "") -> Iterator[Diagnosis]:
    """The node where the first NaN or infinity enters the backward pass."""
    for node in backward_order(graph):
        bad_in = [s for s in node.grad_in if s is not None and not s.finite]
        bad_out = [s for s in node.grad_out if s is not None and not s.finite]
        if not bad_in and not bad_out:
            continue
        worst = (bad_in or bad_out)[0]
        how = "received" if bad_in else "turned finite gradients into"
        message = f"{place_of(node)}, {how} a gradient with {worst.nan} NaN and {worst.inf} Inf"
        found = of_node("not-finite", node, f"First in the backward pass: {message}.")
        yield replace(found, advice=follows or found.advice)
        return


def _no_gradient(graph: GradGraph) -> Iterator[Diagnosis]:
    for one in graph.parameters:
        if one.frozen:
            continue
        if one.grad is None:
            why = "the loss does not depend on it" if one.node is None else "none flows to it"
            yield _of_parameter("no-gradient", one, f"{one.name} gets no gradient: {why}.")
        elif one.grad.zeros == 1:
            message = f"The gradient of {one.name} is zero in every entry."
            yield _of_parameter("zero-gradient", one, message)


def _scale(graph: GradGraph, loss_scale: float) -> Iterator[Diagnosis]:
    """Judges weights only: biases and norms may rightly start at zero."""
    weights = [p for p in graph.parameters if len(p.shape) > 1 and p.grad and p.grad.finite]
    sizes = {p.name: _rms(p.grad) for p in weights if p.grad is not None}
    largest = max(sizes.values(), default=0.0)
    for one in weights:
        row, size = parameter_row(one), sizes[one.name]
        if 0 < size < VANISHING * largest:
            yield _of_parameter(
                "vanishing",
                one,
                f"The gradient of {one.name} vanishes: its root mean square, {size:.3g}, is "
                f"{size / largest:.1e} of the largest in the network.",
            )
        begun = one.weight is not None and _rms(one.weight) >= NEAR_ZERO
        if begun and row.ratio is not None and row.ratio > EXPLODING * loss_scale:
            yield _of_parameter(
                "exploding",
                one,
                f"The gradient of {one.name} explodes: its norm, {row.grad_norm:.3g}, is "
                f"{row.ratio:.3g} times that of the weight.",
            )


def _dead_relus(graph: GradGraph, counted: Mapping[int, DeadUnits]) -> Iterator[Diagnosis]:
    shares: dict[int, str] = {}
    told: set[int] = set()
    for node in graph.nodes:
        units = counted.get(node.id)
        if not is_relu(node) or has_no_units(node) or id(units) in told:
            continue
        if units is not None and units.many:
            told.add(id(units))  # the calls of a layer share their units
            shares[node.id] = (
                f"{units.dead} of {units.total} units pass no gradient for any example"
            )
        elif units is None and (blocked := blocked_share(node)) >= BLOCKED:
            shares[node.id] = f"{blocked:.1%} of the arriving gradient's entries are blocked"
    fed = _fed_to_layers(graph) if shares else set()
    for number, share in shares.items():
        node = graph.nodes[number]
        of_loss = node.name.startswith("ClampBackward") or _has_margin(graph, node)
        if number in fed or not of_loss:
            message = f"Dead ReLU at {place_of(node)}: {share}."
            yield of_node("dead-relu", node, message)


def _fed_to_layers(graph: GradGraph) -> set[int]:
    """The nodes whose results reach a layer with parameters, unlike the hinge of a loss."""
    found: set[int] = set()
    for node in backward_order(graph):
        before = [edge.node for edge in node.next if edge is not None]
        # A result without units is a loss, which a learned weight of losses may scale.
        is_layer = not has_no_units(node) and any(
            _of_leaves_only(graph, graph.nodes[one]) for one in before
        )
        if node.id in found or is_layer:
            found.update(before)
    return found


def _has_margin(graph: GradGraph, node: Node) -> bool:
    """Whether the input of a node includes a constant term, as the hinge of a loss does."""
    for _ in range(4):
        edges = [edge for edge in node.next if edge is not None]
        node = graph.nodes[edges[0].node] if edges else node
        if not edges or not re.match("(Add|Sub|Rsub|Neg|Mul)Backward", node.name):
            return False
        if node.name == "RsubBackward1" or (None in node.next and node.name[0] in "ASR"):
            return True
    return False


def _saturated(graph: GradGraph) -> Iterator[Diagnosis]:
    """Where tanh and sigmoid get inputs so large that no gradient passes."""
    for node in graph.nodes:
        if (share := saturated_share(node)) >= SATURATED:
            message = f"Saturated at {place_of(node)}: {share:.1%} of the arriving gradient's entries are blocked."
            yield of_node("saturated", node, message)


def _rms(stats: Stats) -> float:
    count = math.prod(stats.shape)
    return stats.norm / math.sqrt(count) if count else 0.0
