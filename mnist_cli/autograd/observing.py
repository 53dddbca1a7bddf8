"""Observes the gradients of a backward pass that the caller runs, with hooks on its nodes.

:func:`mnist_cli.autograd.recording.record` runs its own pass; this module only observes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.node import Grads
from mnist_cli.autograd.recording import Seen, with_figures
from mnist_cli.autograd.stats import StatsCollector
from mnist_cli.autograd.tracing import ModuleTrace
from mnist_cli.autograd.walking import Names, joint, walk


class Observer:
    """Collects the gradients' statistics in the next backward pass through some tensors.

    Holds no node and none of the tensors. Their graph holds this object through the hooks, so a
    reference back would be a cycle that the garbage collector does not see.
    """

    def __init__(
        self, outputs: Sequence[Tensor], names: Names, modules: ModuleTrace | None
    ) -> None:
        root = outputs[0] if len(outputs) == 1 else joint(outputs)
        walked = walk(root, names, modules, saved=False)
        self._graph = walked.graph
        self._leaves = walked.leaves
        self._seen = Seen(keep=False, backward=-1)
        self._handles: list[RemovableHandle] = []
        for one, node in zip(walked.graph.nodes, walked.nodes, strict=True):
            take = self._seen.take if one.parameter is None else self._take_of_leaf
            self._handles.append(node.register_hook(partial(take, one.id)))

    def begin(self, backward: int) -> None:
        """Observe this backward pass, whose number is from :func:`backward_id`."""
        self._seen.backward = backward
        self._seen.places.clear()
        self._seen.collector = StatsCollector()

    def _take_of_leaf(self, number: int, left: Grads, arrived: Grads) -> None:
        """A leaf's hook: copies the gradient, since it may become ``.grad``, which other code changes.

        Ignores the passes of other threads, whose graphs share the leaves' nodes.
        """
        if self._seen.is_own_pass():
            came = tuple(None if grad is None else grad.detach().clone() for grad in arrived)
            self._seen.take(number, left, came)

    def drop(self) -> None:
        """Remove the hooks and release all tensors."""
        for handle in self._handles:
            handle.remove()
        self.begin(-1)

    def finish(self) -> GradGraph | None:
        """Remove the hooks, and return the graph with the gradients' statistics.

        If no gradient reached a leaf, as with ``torch.autograd.grad``, returns None and keeps the
        hooks for the next backward pass.
        """
        leaves = {one.node for one in self._graph.parameters}
        if leaves.isdisjoint(self._seen.places):
            self.begin(-1)
            return None
        own = {
            one.name: came[0]
            for one in self._graph.parameters
            if one.node in self._seen.places
            for came, _ in [self._seen.places[one.node]]
            if came
        }
        graph = with_figures(self._graph, self._leaves, self._seen, own)
        self.drop()
        return graph
