"""Whether a replay equals the engine bit for bit, or by how much it differs.

Compares tensors; runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mnist_cli.autograd.bits import INTEGERS, bits, numbers, same_bits_of_many, shape_of
from mnist_cli.autograd.error_tree import ReplayMismatch, UsageError
from mnist_cli.autograd.freeing import no_collection
from mnist_cli.autograd.graph import Comparison, GradGraph, Verdict, check_kind
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.recording import Recording
from mnist_cli.autograd.replayed import Replay

FARTHEST = 2**63 - 1
"""The distance in ULPs of what cannot be compared: a number and NaN, or two shapes."""


def judge(replayed: Replay, recorded: Recording) -> Verdict:
    """Compare a replay with what the engine did on the same graph with the same gradient.

    Returns:
        ``exact`` is true if every parameter's gradient has the same bits, NaN patterns and signed
        zeros included. ``parameters`` compares every parameter; ``nodes``, if both kept them, the
        gradients that arrived at every node. ``notes`` name the first difference and its causes.

    Raises:
        UsageError: they are of different graphs.
    """
    check_kind(replayed, Replay, "replay(walked) makes one")
    check_kind(recorded, Recording, "record(walked) makes one")
    _check_one_graph(replayed, recorded)
    named = [parameter.name for parameter in recorded.graph.parameters]
    names = dict.fromkeys([*named, *replayed.gradients])
    parameters = tuple(
        compare_tensors(name, replayed.gradients.get(name), recorded.gradients.get(name))
        for name in names
        if name in replayed.gradients or name in recorded.gradients
    )
    nodes: tuple[Comparison, ...] = ()
    if replayed.grad_in and recorded.grad_in:
        with no_collection(len(recorded.graph)):
            nodes = _compare_nodes(recorded.graph, replayed.grad_in, recorded.grad_in)
    return Verdict(
        exact=all(one.equal for one in parameters),
        calls=replayed.calls,
        parameters=parameters,
        nodes=nodes,
        notes=_notes(replayed, recorded.graph, nodes) or _notes_of_leaves(parameters, nodes),
    )


def _check_one_graph(replayed: Replay, recorded: Recording) -> None:
    """Refuse to compare the results of two different graphs."""
    nodes = len(recorded.graph.nodes)
    if len(replayed.grad_in) not in {0, nodes} or max(replayed.order, default=0) >= nodes:
        raise UsageError(
            "the replay and the recording are of different graphs",
            "Replay the walk that was recorded.",
        )


def require_exact(verdict: Verdict) -> None:
    """Refuse a replay that differs.

    Raises:
        ReplayMismatch: names the parameter that differs most.
    """
    check_kind(verdict, Verdict, "judge(replayed, recorded) makes one")
    wrong = [one for one in verdict.parameters if not one.equal]
    if not wrong:
        return
    worst = max(wrong, key=lambda one: (one.max_abs_diff, one.max_ulp))
    raise ReplayMismatch(
        f"the replay differs from autograd in {len(wrong)} of {len(verdict.parameters)} "
        f"parameters, most in {worst.name}: by {worst.max_abs_diff:.3g}, {worst.max_ulp} ULP",
        " ".join(verdict.notes),
    )


def compare_tensors(name: str, ours: Tensor | None, theirs: Tensor | None) -> Comparison:
    """Compare two tensors of any shape bit for bit; None is a missing gradient.

    Their dtype is floating-point or complex, as every gradient's is.

    Returns:
        The largest difference, and the largest distance in ULPs. A ULP is one step to the next
        number of the dtype: +0 and −0 are 0 steps apart, yet not equal. Sparse tensors are
        compared as dense ones.

    Raises:
        UsageError: one of them is on the meta device.
    """
    if ours is None and theirs is None:
        return Comparison(name, True, 0.0, 0)
    if ours is None or theirs is None or shape_of(ours) != shape_of(theirs):
        return Comparison(name, False, math.inf, FARTHEST)
    if ours.is_meta or theirs.is_meta:
        raise UsageError(
            f"the gradient of {name} has no values to compare: it is on the meta device",
            "Move the model and its input to a device, such as the CPU.",
        )
    mine, other = bits(ours), bits(theirs)
    if ours.dtype != theirs.dtype or len(mine) != len(other):
        return Comparison(name, False, math.inf, FARTHEST)
    different = mine != other
    if not bool(different.any()):
        return Comparison(name, True, 0.0, 0)
    return Comparison(name, False, *_gaps(numbers(ours)[different], numbers(theirs)[different]))


def _gaps(ours: Tensor, theirs: Tensor) -> tuple[float, int]:
    """The largest difference and the largest distance in ULPs of entries (N,) that differ."""
    if bool((ours.isnan() != theirs.isnan()).any()):
        return math.inf, FARTHEST
    number = ~ours.isnan()
    if not bool(number.any()):  # NaNs of different patterns
        return 0.0, 0
    mine, other = ours[number].cpu(), theirs[number].cpu()
    apart = (mine.double() - other.double()).abs()
    return float(apart.max()), _ulps(_line(mine), _line(other))


def _ulps(mine: Tensor, other: Tensor) -> int:
    """Largest distance on :func:`_line`; clamped across zero, where it may exceed 64 bits."""
    across = mine.clamp(-(2**62), 2**62 - 1) - other.clamp(-(2**62), 2**62 - 1)
    same_side = (mine < 0) == (other < 0)
    return int(torch.where(same_side, mine - other, across).abs().max())


def _line(values: Tensor) -> Tensor:
    """Floats as whole numbers, int64, in which neighbours of the dtype differ by 1."""
    bits = values.view(INTEGERS[values.element_size()]).to(torch.int64)
    magnitude = bits & (2 ** (8 * values.element_size() - 1) - 1)
    return torch.where(bits < 0, -magnitude, magnitude)


def _compare_nodes(
    graph: GradGraph, ours: Sequence[Grads], theirs: Sequence[Grads]
) -> tuple[Comparison, ...]:
    """What arrived at every node; the usual one gradient at each is compared together."""
    alone = {
        node: (a[0], b[0])
        for node, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if len(a) == len(b) == 1 and a[0] is not None and b[0] is not None
    }
    same = dict(zip(alone, same_bits_of_many(list(alone.values())), strict=True))
    return tuple(
        Comparison(name, True, 0.0, 0) if same.get(place) else _compare_inputs(name, a, b)
        for place, (node, a, b) in enumerate(zip(graph.nodes, ours, theirs, strict=True))
        for name in [f"{node.id} {node.name}"]
    )


def _compare_inputs(name: str, ours: Grads, theirs: Grads) -> Comparison:
    """What arrived at one node: the worst of its inputs."""
    if len(ours) != len(theirs):
        return Comparison(name, False, math.inf, FARTHEST)
    each = [compare_tensors(name, a, b) for a, b in zip(ours, theirs, strict=True)]
    equal = all(one.equal for one in each)
    diff = max((one.max_abs_diff for one in each), default=0.0)
    return Comparison(name, equal, diff, max((one.max_ulp for one in each), default=0))


def _notes(replayed: Replay, graph: GradGraph, nodes: tuple[Comparison, ...]) -> tuple[str, ...]:
    """The first node, in the order of the calls, at which the two differ, and the causes."""
    different = {number for number, one in enumerate(nodes) if not one.equal}
    if not different:
        return ()
    first = next((number for number in replayed.order if number in different), min(different))
    node = graph.nodes[first]
    where = f" in {node.module}" if node.module else ""
    return (
        f"Node {first}, {node.name}{where}, is the first whose incoming gradient differs. "
        "Either a hook on the tensor or the node changed it, or an earlier node does not "
        "compute the same bits twice.",
    )


def _notes_of_leaves(
    parameters: Sequence[Comparison], nodes: Sequence[Comparison]
) -> tuple[str, ...]:
    """The cause where parameters differ, but no node does."""
    if not nodes or all(one.equal for one in parameters):
        return ()
    return (
        "Every node received the same gradient. Something changes the parameters' gradients after "
        "that, as DistributedDataParallel does when it averages them over processes.",
    )
