"""Backward by hand: every node called in the engine's own order, bit for bit.

:func:`replay_steps` says what makes it exact; :mod:`mnist_cli.autograd.verdict` compares the
result with the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node as LiveNode
from torch.utils.checkpoint import GraphExecGroup

from mnist_cli.autograd import node as adapter
from mnist_cli.autograd.bits import same_bits
from mnist_cli.autograd.freeing import no_collection
from mnist_cli.autograd.graph import Edge
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.order import dependencies
from mnist_cli.autograd.ready_queue import ReadyQueue
from mnist_cli.autograd.recording import changing, copied
from mnist_cli.autograd.replayed import Delivery, Replay, ReplayStep
from mnist_cli.autograd.roots import root_tensor, seed_of
from mnist_cli.autograd.torch_private import (
    hooks_before_accumulation,
    is_function,
    is_unwritten,
    one_pass,
    sequence_number,
)
from mnist_cli.autograd.undisturbed import Unnamed, set_aside, strangers
from mnist_cli.autograd.walking import Names, Walk, walk


def replay(
    root: Tensor | Walk, grad: Tensor | None = None, names: Names = None, *, keep: bool = True
) -> Replay:
    """Run the backward pass by hand from ``root`` to the leaves.

    Args:
        root: a tensor with a graph, or a walk that started from one.
        grad: gradient of the root, of its shape; default: ones, for a root with one entry.
        names: names of the leaves, if ``root`` is a tensor.
        keep: hold what arrived at each node.

    Returns:
        Each parameter's gradient, equal bit for bit to what ``backward`` would have added to
        its ``.grad``. No ``.grad`` is changed and nothing is freed.

    Raises:
        UsageError: the root has no graph or was freed, or the gradient does not fit.
    """
    walked = root if isinstance(root, Walk) else walk(root, names, saved=False)
    state = _State.begin(walked)
    arrived: dict[int, Grads] = {}
    order: list[int] = []
    state.start(seed_of(root_tensor(walked), grad))
    paused, once = no_collection(len(walked.nodes)), one_pass(state.recomputed_once)
    with paused, walked.undisturbed(), torch.no_grad(), once:
        while state.queue:
            number, grads = state.next()
            turn = _take_turn(state, number, grads)
            order.append(number)
            if keep:
                arrived[number] = turn.grads
    grad_in = tuple(arrived.get(i, ()) for i in range(len(walked.nodes))) if keep else ()
    calls = sum(1 for i in order if walked.graph.nodes[i].parameter is None)
    return Replay(dict(state.gathered), grad_in, tuple(order), calls)


def replay_steps(walked: Walk, grad: Tensor | None = None) -> Iterator[ReplayStep]:
    """The replay, turn by turn.

    These rules make it equal to the engine's own pass:

    - A node is ready when a gradient, or the absence of one, has arrived along every edge
      that leads to it from the root.
    - The ready node made last in the forward pass goes first; AccumulateGrad goes before all.
      So gradients that meet at one input are added in the engine's order, on which
      floating-point sums depend.
    - A result is summed to the shape that the receiver expects, then cast to its dtype.
    - Sums are made out of place, the earlier first.
    - A Function written in Python gets zeros for missing gradients, unless it declined.

    Hooks do not fire, except hooks of leaf tensors, which are visible and applied.

    Args:
        walked: a walk whose root is a tensor.
        grad: gradient of the root, of its shape; default: ones, for a root with one entry.

    Raises:
        UsageError: the gradient does not fit, or the graph was freed.
    """
    seed = seed_of(root_tensor(walked), grad)
    moving = replace(walked, random=replace(walked.random), buffers=[*walked.buffers])
    apart = partial(moving.undisturbed, Unnamed.search(walked.nodes), moves=True)
    return _turns(_State.begin(walked), seed, apart)


@dataclass
class _State:
    """A backward pass under way: what has arrived where, and who is ready."""

    walked: Walk
    waiting: list[int]
    queue: ReadyQueue
    strangers: list[Tensor]
    copies: bool
    seed: Tensor | None = None
    buffers: dict[int, list[Tensor | None]] = field(default_factory=dict)
    gathered: dict[str, Tensor] = field(default_factory=dict)
    summed: set[tuple[int, int]] = field(default_factory=set)
    recomputed_once: GraphExecGroup = field(default_factory=GraphExecGroup)

    @classmethod
    def begin(cls, walked: Walk) -> _State:
        sequences = [sequence_number(node) for node in walked.nodes]
        others = strangers(walked.nodes, walked.leaves.values())
        queue = ReadyQueue(sequences)
        return cls(walked, dependencies(walked.graph), queue, others, changing(walked))

    def buffer(self, node: int) -> list[Tensor | None]:
        found = self.buffers.get(node)
        if found is None:
            found = self.buffers[node] = [None] * len(self.walked.inputs[node])
        return found

    def start(self, seed: Tensor) -> None:
        """Hand the root its gradient."""
        self.seed = seed.clone()  # a Function may change in place what arrives
        place = self.walked.root_nr
        self.buffer(0)[place] = adapter.deliver(seed, self.walked.inputs[0][place])
        self.queue.push(0)

    def next(self) -> tuple[int, Grads]:
        """The node whose turn it is, and what arrived there."""
        number = self.queue.pop()
        return number, tuple(self.buffers.pop(number))


def _turns(
    state: _State, seed: Tensor, apart: Callable[[], AbstractContextManager[None]]
) -> Iterator[ReplayStep]:
    state.start(seed)
    index = 0
    while state.queue:
        number, grads = state.next()
        # The mode is set for the turn alone: a generator must not hold it while it sleeps.
        with torch.no_grad(), apart(), one_pass(state.recomputed_once):
            turn = _take_turn(state, number, grads)
        yield _step(state, index, number, turn)
        index += 1


class _Turn(NamedTuple):
    """The parts of a :class:`ReplayStep` and of its deliveries, which a replay needs unnamed."""

    grads: Grads
    results: Grads = ()
    deliveries: Sequence[tuple[Any, ...]] = ()
    inside: tuple[str, ...] = ()


def _step(state: _State, index: int, number: int, turn: _Turn) -> ReplayStep:
    deliveries = tuple(Delivery(*sent) for sent in turn.deliveries)
    parameter = state.walked.graph.nodes[number].parameter
    words = _words(state, number)
    return ReplayStep(
        index, number, words, turn.grads, turn.results, deliveries, parameter, turn.inside
    )


def _take_turn(state: _State, number: int, grads: Grads) -> _Turn:
    plain = state.walked.graph.nodes[number]
    if plain.parameter is not None:
        leaf = state.walked.leaves[plain.parameter]
        arrived = _seen(state, _hooked(leaf, grads))
        # The engine adds nothing to a leaf that was frozen after the forward pass.
        if arrived[0] is not None and leaf.requires_grad:
            before = state.gathered.get(plain.parameter)
            state.gathered[plain.parameter] = arrived[0] if before is None else before + arrived[0]
        return _Turn(arrived)
    seen = _seen(state, grads)
    results, inside = _call(state, number, grads)
    deliveries = [
        _deliver(state, position, edge, results[position])
        for position, edge in enumerate(plain.next)
        if edge is not None
    ]
    return _Turn(seen, results, deliveries, inside)


def _seen(state: _State, grads: Grads) -> Grads:
    """What arrived, in copies if a Function may change it later."""
    return copied(grads) if state.copies else grads


def _words(state: _State, number: int) -> str:
    node, count = state.walked.graph.nodes[number], len(state.walked.inputs[number])
    given = "grad" if count == 1 else ", ".join(f"grad[{i}]" for i in range(count))
    apply = ".apply" if is_function(state.walked.nodes[number]) else ""
    return f"{node.name}{apply}({given})"


def _deliver(
    state: _State, position: int, edge: Edge, raw: Tensor | None
) -> tuple[int, Edge, Tensor | None, Tensor | None, Tensor | None, Tensor | None, bool]:
    """Deliver a result, and queue the node that receives it if it is ready.

    Returns:
        The fields of a :class:`Delivery`.
    """
    buffer = state.buffer(edge.node)
    met = buffer[edge.input_nr]
    sent = None
    if raw is not None:
        sent = adapter.deliver(raw, state.walked.inputs[edge.node][edge.input_nr])
        if met is None:
            buffer[edge.input_nr] = sent
        else:
            buffer[edge.input_nr] = _sum(state, edge, met, sent)
    state.waiting[edge.node] -= 1
    ready = state.waiting[edge.node] == 0
    if ready:
        state.queue.push(edge.node)
    return position, edge, raw, sent, met, buffer[edge.input_nr], ready


def _sum(state: _State, edge: Edge, met: Tensor, sent: Tensor) -> Tensor:
    """As the engine adds: the earlier first, unless that one alone is sparse.

    It adds in place into a sum that it made itself, and then -0 and unwritten zeros are +0.
    """
    place = edge.node, edge.input_nr
    if place in state.summed and is_unwritten(sent):
        sent = torch.zeros_like(sent)
    state.summed.add(place)
    return sent + met if met.is_sparse else met + sent


def _hooked(leaf: Tensor, grads: Grads) -> Grads:
    """A leaf's own hooks act on the gradient before it is gathered."""
    grad = grads[0]
    for hook in hooks_before_accumulation(leaf):
        changed = hook(grad) if grad is not None else None
        grad = grad if changed is None else changed
    return (grad,)


def _ask(state: _State, node: LiveNode) -> Grads:
    """What the engine hands to a Function that no gradient reaches: run the pass up to it.

    What that pass adds to any leaf's ``.grad`` is dropped.
    """
    seeds = [] if state.seed is None else [state.seed.clone()]
    with set_aside([*state.walked.leaves.values(), *state.strangers]):
        return adapter.handed_over(node, root_tensor(state.walked), seeds)


def _call(state: _State, number: int, grads: Grads) -> tuple[Grads, tuple[str, ...]]:
    """Call a node; catch what a backward within a Python Function adds.

    A reentrant checkpoint adds to the ``.grad`` of the parameters inside it. So during the call
    ``.grad`` holds what has been gathered, and is read back after.
    """
    node = state.walked.nodes[number]
    if not is_function(node):
        return adapter.call(node, grads), ()
    leaves = state.walked.leaves
    with set_aside([*leaves.values(), *state.strangers]):
        for name, held in state.gathered.items():
            leaves[name].grad = held.clone()
        results = adapter.call(node, grads, partial(_ask, state, node))
        after = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    before = state.gathered
    inside = tuple(n for n in after if n not in before or not same_bits(before[n], after[n]))
    for name in inside:
        state.gathered[name] = after[name].detach()
    return results, inside
