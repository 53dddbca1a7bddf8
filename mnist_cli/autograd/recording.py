"""Runs a real backward pass with a hook on every node: its incoming and outgoing gradients.

The model does not change: this restores the parameters' ``.grad``, the buffers that a recomputed
segment changes, and the hooks that act on accumulated gradients.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd.bits import parts_of, shape_of
from mnist_cli.autograd.brief import listed
from mnist_cli.autograd.diagnosing import place_of
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.freeing import no_collection
from mnist_cli.autograd.graph import GradGraph, Stats, with_grads
from mnist_cli.autograd.module_state import shards
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.retention import unusable_tensors
from mnist_cli.autograd.roots import root_tensor, seed_of
from mnist_cli.autograd.stats import StatsCollector
from mnist_cli.autograd.torch_errors import explain
from mnist_cli.autograd.torch_private import backward_counter, is_function
from mnist_cli.autograd.undisturbed import (
    Hooked,
    average_over_processes,
    set_aside,
    strangers,
    take_off,
    with_others,
)
from mnist_cli.autograd.walking import Walk


@dataclass(frozen=True, eq=False)
class Recording:
    """What the engine did.

    Attributes:
        graph: the walk's graph with ``grad_in``, ``grad_out`` and the parameters' statistics.
        gradients: what the engine would have added to each parameter's ``.grad``, by name;
            a parameter that got nothing is absent.
        grad_in: for each node the gradients that arrived, after the user's own hooks;
            empty unless ``keep``.
        grad_out: for each node the gradients that left, as they arrive (already summed to
            shape); empty unless ``keep``.
    """

    graph: GradGraph
    gradients: Mapping[str, Tensor]
    grad_in: tuple[Grads, ...] = ()
    grad_out: tuple[Grads, ...] = ()

    def __repr__(self) -> str:
        kept = "kept" if self.grad_in else "not kept"
        return f"Recording({self.graph!r}, {len(self.gradients)} gradients, those of nodes {kept})"


_Places = tuple[int | None, ...]


@dataclass
class Seen:
    """What the hooks collect: places in the collector, and with ``keep`` the tensors.

    They see only the pass with the number ``backward``: None becomes that of the first one, and -1
    means no pass. With ``copies`` they collect copies: what they saw may change or be freed while
    the pass runs.
    """

    keep: bool
    current: Callable[[], int] = field(default_factory=backward_counter)
    backward: int | None = None
    copies: bool = False
    early: dict[int, Grads] = field(default_factory=dict)
    collector: StatsCollector = field(default_factory=StatsCollector)
    places: dict[int, tuple[_Places, _Places]] = field(default_factory=dict)
    grads: dict[int, tuple[Grads, Grads]] = field(default_factory=dict)

    def before(self, number: int, arrived: Grads) -> None:
        """A hook before a Function's node, which may change in place what arrives."""
        if self.is_own_pass():
            self.early[number] = copied(arrived)

    def take(self, number: int, left: Grads, arrived: Grads) -> None:
        """A node's hook: torch calls what arrived `grad_outputs`, and what left `grad_inputs`."""
        if not self.is_own_pass():
            return
        if self.copies:
            arrived, left = self.early.pop(number, ()) or copied(arrived), copied(left)
        add = self.collector.add
        self.places[number] = (
            tuple([None if grad is None else add(grad) for grad in arrived]),
            tuple([None if grad is None else add(grad) for grad in left]),
        )
        if self.keep:
            # Not detached copies: the engine may reuse the memory of a tensor nobody holds.
            self.grads[number] = tuple(arrived), tuple(left)

    def is_own_pass(self) -> bool:
        """Whether the pass is the recorded one.

        A reentrant checkpoint runs a backward within it, which may pass through an AccumulateGrad
        of this graph: that is ignored.
        """
        if self.backward is None:
            self.backward = self.current()
        return self.current() == self.backward


def record(walked: Walk, grad: Tensor | None = None, *, keep: bool = False) -> Recording:
    """Run the engine's backward from the root and record every node's gradients.

    One recording runs at a time; other threads that record wait. If a thread calls ``backward`` on the
    same leaves meanwhile, its gradients are included.

    Args:
        walked: a walk whose root is a tensor.
        grad: gradient of the root, of its shape; default: ones, for a root with one entry.
        keep: hold the gradients themselves, to compare a replay node by node. Costs their
            memory all at once; statistics alone need a few tens of MiB.

    Returns:
        The statistics, the parameters' gradients, and with ``keep`` all gradients.

    Raises:
        UsageError: the gradient has the wrong shape, or the graph was already freed.
    """
    recording = record_last(walked, grad, keep=keep)
    average_over_processes(root_tensor(walked), walked.leaves.values())
    return recording


def record_last(walked: Walk, grad: Tensor | None = None, *, keep: bool = False) -> Recording:
    """:func:`record` the graph of a root of any shape, if no other backward pass follows.

    Models that average gradients over processes do so in this pass only.
    """
    root = root_tensor(walked)
    seed = seed_of(root, grad)
    seen = Seen(keep, copies=changing(walked))
    leaves = {**walked.leaves, **shards(walked.model)}
    with ExitStack() as stack:
        known = leaves.values()
        stack.enter_context(set_aside([*known, *strangers(walked.nodes, known)]))
        stack.enter_context(no_collection(len(walked.nodes)))
        stack.enter_context(walked.undisturbed())
        hooked: list[Hooked] = []
        stack.callback(take_off, hooked)
        hooked.extend(map(with_others, _handles(walked, seen)))
        _run(walked, root, None if grad is None and root.is_floating_point() else seed)
        gradients = {
            name: leaf.grad.detach() for name, leaf in leaves.items() if leaf.grad is not None
        }
        return _recording(walked, seen, gradients)


def _handles(walked: Walk, seen: Seen) -> Iterator[RemovableHandle]:
    """The hooks on all nodes."""
    reshaped = _reshaped(walked)
    for number, node in enumerate(walked.nodes):
        if number in reshaped:
            yield node.register_prehook(copied)
        elif seen.copies and is_function(node):
            yield node.register_prehook(partial(seen.before, number))
        yield node.register_hook(partial(seen.take, number))


def copied(grads: Grads) -> Grads:
    """Copies of gradients of any shape."""
    return tuple(None if grad is None else grad.clone() for grad in grads)


def changing(walked: Walk) -> bool:
    """Whether a gradient may change after a node saw it.

    A Function may free its input or change it in place. A reentrant checkpoint adds to leaves, as
    does a leaf with several nodes, whose dtype changed. A model sharded over processes has
    wrappers as leaves, and frees each gradient once it is summed.
    """
    named = [node for node in walked.graph.nodes if node.parameter is not None]
    once = len({node.parameter for node in named}) == len(named)
    wrapped = any(map(parts_of, walked.leaves.values()))
    return not once or wrapped or any(map(is_function, walked.nodes))


def _reshaped(walked: Walk) -> dict[int, str]:
    """The AccumulateGrad nodes, and names, of leaves whose data changed shape since.

    The engine can only make a gradient that nobody else holds the ``.grad`` of such a leaf.
    """
    shapes = {name: shape_of(leaf) for name, leaf in walked.leaves.items()}
    return {
        node.id: node.parameter
        for node in walked.graph.nodes
        for expected in walked.inputs[node.id][:1]
        if node.parameter is not None and expected.known
        if shapes[node.parameter] != expected.shape
    }


def kept_bytes(walked: Walk) -> int:
    """An upper bound of the bytes of the gradients that :func:`record` keeps.

    One gradient for each result of each node; if several arrive there, each of them and their
    sum. Copies are made of what arrives and of what leaves. Segments that are recomputed in
    backward are not known before, and not counted.
    """
    copies = changing(walked)
    fan_in = Counter((edge.node, edge.input_nr) for _, _, edge in walked.graph.edges())
    total = 0
    for node, inputs in enumerate(walked.inputs):
        for number, expected in enumerate(inputs):
            size = math.prod(expected.shape) * (expected.dtype or torch.float32).itemsize
            arriving = fan_in[node, number]
            total += size * (arriving + 1 if copies or arriving > 1 else 1)
    return total


def _run(walked: Walk, root: Tensor, seed: Tensor | None) -> None:
    """Run the engine's pass. Seed None means ones: to check any other, torch imports sympy (0.5 s)."""
    try:
        torch.autograd.backward(root, seed, retain_graph=True)
    except RuntimeError as error:
        stopped = [walked.graph.nodes[one.node or 0] for one in unusable_tensors(walked)]
        if not stopped and (names := list(_reshaped(walked).values())):
            raise UsageError(
                f"the data of {listed(names)} changed shape after the forward pass",
                "Run the forward pass again.",
            ) from error
        explain(place_of(stopped[0]) if stopped else "backward", error)


def with_figures(
    graph: GradGraph, leaves: Mapping[str, Tensor], seen: Seen, own: Mapping[str, int | None]
) -> GradGraph:
    """The graph with the statistics of gradients and parameters; waits for the device.

    Args:
        graph: the graph.
        leaves: its parameters by name, of any shape.
        seen: what the hooks of its nodes collected.
        own: the places there of the parameters' own gradients, by name.
    """
    weights = {name: seen.collector.add(leaf) for name, leaf in leaves.items()}
    figures = seen.collector.results()

    def pick(places: _Places) -> tuple[Stats | None, ...]:
        return tuple([None if place is None else figures[place] for place in places])

    nodes = tuple(
        with_grads(node, pick(came), pick(left))
        for node in graph.nodes
        for came, left in [seen.places.get(node.id, ((), ()))]
    )
    parameters = tuple(
        replace(one, grad=grad, weight=weight)
        for one in graph.parameters
        for grad, weight in [pick((own.get(one.name), weights[one.name]))]
    )
    return replace(graph, nodes=nodes, parameters=parameters)


def _recording(walked: Walk, seen: Seen, gradients: Mapping[str, Tensor]) -> Recording:
    own: dict[str, int | None] = {n: seen.collector.add(grad) for n, grad in gradients.items()}
    for one in walked.graph.parameters:  # a sharded model moves on what arrives
        if one.node in seen.places and not one.frozen:
            own.setdefault(one.name, seen.places[one.node][0][0])
    graph = with_figures(walked.graph, walked.leaves, seen, own)
    kept = [seen.grads.get(i, ((), ())) for i in range(len(walked.nodes))] if seen.keep else []
    hidden = Counter(seen.collector.hidden.values())
    unreadable = [f"{count} gradients or parameters: {why}" for why, count in hidden.items()]
    return Recording(
        graph=replace(graph, unreadable=(*graph.unreadable, *unreadable)),
        gradients=gradients,
        grad_in=tuple(came for came, _ in kept),
        grad_out=tuple(left for _, left in kept),
    )
