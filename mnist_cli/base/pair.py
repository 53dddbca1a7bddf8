"""Two threads that compute the two halves of something at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mnist_cli.base.process import OWN_THREAD

S = TypeVar("S")
T = TypeVar("T")


class Pair:
    """This thread and a second one, which starts with the first call and ends with this object.

    Args:
        parallel: False makes every call in this thread, one after the other: for a single core.
        threads: how many threads both have together to compute with; the caller divides them.
    """

    def __init__(self, *, parallel: bool = True, threads: int = 2) -> None:
        self.parallel = parallel
        self.threads = threads
        self._second: ThreadPoolExecutor | None = None

    def both(self, first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T]:
        """Make the first call in this thread and the second one in the other.

        Both have ended when this method returns. If both raise, the first one's error is raised.
        """
        if not self.parallel:
            return first(), second()
        if self._second is None:
            self._second = ThreadPoolExecutor(1, OWN_THREAD)
        other = self._second.submit(second)
        try:
            mine = first()
        finally:
            other.exception()  # waits
        return mine, other.result()

    def divide(self, compute: Callable[[Sequence[S]], list[T]], items: Sequence[S]) -> list[T]:
        """The results of ``items`` in their order; each thread computes half."""
        half = (len(items) + 1) // 2
        first, rest = self.both(lambda: compute(items[:half]), lambda: compute(items[half:]))
        return first + rest

    def __deepcopy__(self, memo: object) -> Pair:
        """The same pair: a thread is not copied."""
        return self
