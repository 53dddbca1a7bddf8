"""What a backward pass by hand gives: its steps, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mnist_cli.autograd.bits import size_of
from mnist_cli.autograd.brief import listed, shortened
from mnist_cli.autograd.graph import Edge
from mnist_cli.autograd.node import Grads


@dataclass(frozen=True, eq=False)
class Delivery:
    """One result of a call on its way to the node that waits for it.

    Attributes:
        position: which of the node's results it is.
        edge: where it goes.
        raw: what the call returned, of any shape; None if there is no gradient.
        sent: what arrives: ``raw`` summed to the shape and cast to the dtype expected there.
        met: what had arrived at that input before; None if this is the first.
        total: what has arrived at that input now, ``met + sent``.
        ready: whether the receiving node has all its gradients now.
    """

    position: int
    edge: Edge
    raw: Tensor | None
    sent: Tensor | None
    met: Tensor | None
    total: Tensor | None
    ready: bool

    def __repr__(self) -> str:
        return f"Delivery(result {self.position} to #{self.edge.node}: {size_of(self.sent)})"

    @property
    def reduced(self) -> bool:
        """Whether the result was summed to a smaller shape on its way."""
        return self.raw is not None and self.sent is not None and self.raw.shape != self.sent.shape

    @property
    def cast(self) -> bool:
        """Whether the result changed its dtype on its way."""
        return self.raw is not None and self.sent is not None and self.raw.dtype != self.sent.dtype


@dataclass(frozen=True, eq=False)
class ReplayStep:
    """One turn of the engine.

    Attributes:
        index: counts from 0.
        node: id of the node.
        call: the call as text: ``AddmmBackward0(grad)``.
        grads: what came in, one for each of the node's inputs.
        results: what the call returned, one for each edge; empty for AccumulateGrad.
        deliveries: where each result goes.
        parameter: the parameter that a gradient arrived at, if the node is an AccumulateGrad.
        inside: parameters whose gradient changed within the call: a reentrant checkpoint runs
            its own backward.
    """

    index: int
    node: int
    call: str
    grads: Grads
    results: Grads = ()
    deliveries: tuple[Delivery, ...] = ()
    parameter: str | None = None
    inside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        came = listed(map(size_of, self.grads))
        sent = self.parameter or listed(f"#{one.edge.node}" for one in self.deliveries)
        call = f"{self.index}: #{self.node} {shortened(self.call)}"
        return f"ReplayStep({call}, {came} → {shortened(sent)})"


@dataclass(frozen=True, eq=False)
class Replay:
    """A whole backward pass by hand.

    Attributes:
        gradients: each parameter's gradient by name; one that got nothing is absent.
        grad_in: what arrived at each node, by id; empty if not kept.
        order: ids of the nodes as the turns came.
        calls: how many nodes were called. AccumulateGrad never is: it would change ``.grad``.
    """

    gradients: Mapping[str, Tensor]
    grad_in: tuple[Grads, ...]
    order: tuple[int, ...]
    calls: int

    def __repr__(self) -> str:
        return f"Replay({self.calls} calls, {len(self.gradients)} gradients)"
