"""The gradients of a backward pass that somebody else runs, seen by hooks on its nodes.

:func:`mnist_cli.autograd.recording.record` runs a pass of its own; this one only looks on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd.graph import GradGraph, Stats
from mnist_cli.autograd.stats import StatsCollector
from mnist_cli.autograd.torch_private import backward_id
from mnist_cli.autograd.tracing import ModuleTrace
from mnist_cli.autograd.walking import Names, joint, walk

_Figures = tuple[int | None, ...]


class Observer:
    """Collects the figures of the backward pass that comes next through some tensors.

    Holds no node and none of the tensors: their graph holds this object through the hooks, and
    a reference back would be a cycle that Python does not see.
    """

    def __init__(
        self, outputs: Sequence[Tensor], names: Names, modules: ModuleTrace | None
    ) -> None:
        root = outputs[0] if len(outputs) == 1 else joint(outputs)
        walked = walk(root, names, modules, saved=False)
        self._graph = walked.graph
        self._leaves = walked.leaves
        self._collector = StatsCollector()
        self._places: dict[int, tuple[_Figures, _Figures]] = {}
        self._handles: list[RemovableHandle] = []
        self._backward = -1
        for one, node in zip(walked.graph.nodes, walked.nodes, strict=True):
            take = partial(self._take, one.id, one.parameter is not None)
            self._handles.append(node.register_hook(take))

    def begin(self, backward: int) -> None:
        """Take what comes in this backward, the number of which :func:`backward_id` gives."""
        self._backward = backward

    def _take(
        self,
        number: int,
        leaf: bool,
        left: Sequence[Tensor | None],
        arrived: Sequence[Tensor | None],
    ) -> None:
        """A node's hook. A leaf's gradient may become its ``.grad``, which others change.

        Graphs of other threads share the nodes of the leaves.
        """
        if self._handles and backward_id() == self._backward:
            came = [g.detach().clone() if leaf and g is not None else g for g in arrived]
            self._places[number] = self._add(came), self._add(left)

    def _add(self, grads: Sequence[Tensor | None]) -> _Figures:
        return tuple(None if g is None else self._collector.add(g) for g in grads)

    def drop(self) -> None:
        """Take the hooks off and let go of all tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._collector = StatsCollector()

    def finish(self) -> GradGraph:
        """Take the hooks off; the graph with the figures of what came."""
        weights = {name: self._collector.add(leaf) for name, leaf in self._leaves.items()}
        figures = self._collector.results()
        self.drop()

        def pick(places: _Figures) -> tuple[Stats | None, ...]:
            return tuple(None if place is None else figures[place] for place in places)

        nodes = tuple(
            replace(node, grad_in=pick(came), grad_out=pick(left))
            for node in self._graph.nodes
            for came, left in [self._places.get(node.id, ((), ()))]
        )
        parameters = tuple(
            replace(one, grad=came[0] if came else None, weight=figures[weights[one.name]])
            for one in self._graph.parameters
            for came in [nodes[one.node].grad_in if one.node is not None else ()]
        )
        return replace(self._graph, nodes=nodes, parameters=parameters)
