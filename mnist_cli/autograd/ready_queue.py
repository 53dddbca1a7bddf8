"""The engine's queue of ready nodes.

Knows numbers only. Source: ``ReadyQueue`` in torch/csrc/autograd/engine.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence


class ReadyQueue:
    """Nodes that have all their gradients; the one made last in the forward pass goes first.

    The engine keeps them in a C++ ``std::priority_queue``. If several threads made the nodes,
    numbers repeat, since each thread has its own counter. Then the heap's inner order decides,
    so this is libstdc++'s heap, move for move.
    """

    def __init__(self, sequences: Sequence[int]) -> None:
        self._sequences = sequences
        self._heap: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    def push(self, node: int) -> None:
        """Add a node that is ready."""
        self._heap.append(node)
        self._rise(len(self._heap) - 1, node)

    def pop(self) -> int:
        """Take out the node that the engine would run next."""
        first, last = self._heap[0], self._heap.pop()
        if self._heap:
            self._rise(self._sink(), last)
        return first

    def _before(self, a: int, b: int) -> bool:
        return self._sequences[a] < self._sequences[b]

    def _rise(self, hole: int, node: int) -> None:
        parent = (hole - 1) // 2
        while hole > 0 and self._before(self._heap[parent], node):
            self._heap[hole] = self._heap[parent]
            hole, parent = parent, (parent - 1) // 2
        self._heap[hole] = node

    def _sink(self) -> int:
        """Move the larger child up from the top down to a leaf; returns the hole left there."""
        heap, count = self._heap, len(self._heap)
        hole = child = 0
        while child < (count - 1) // 2:
            child = 2 * (child + 1)
            if self._before(heap[child], heap[child - 1]):
                child -= 1
            heap[hole] = heap[child]
            hole = child
        if count % 2 == 0 and child == (count - 2) // 2:
            heap[hole] = heap[2 * child + 1]
            hole = 2 * child + 1
        return hole
