"""Groups a graph's nodes by the module calls that made them, nested as the modules are.

A group is one call, not one module: consecutive nodes of the forward order. So a ReLU that a block
uses twice makes two groups, a recurrent cell one for each step, and the groups never form a cycle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.order import forward_order
from mnist_cli.autograd.render import labels, topology


@dataclass(frozen=True)
class Call:
    """One call of the module ``path``; ``parent`` is the enclosing call's place in the list.

    ``number`` counts the calls of one module from 1, and ``of`` says how many there are.
    """

    path: str
    parent: int | None
    depth: int
    number: int = 1
    of: int = 1

    @property
    def title(self) -> str:
        """The path, with the call's number if there are several."""
        name = labels.visible(self.path)
        return name if self.of == 1 else f"{name} · call {self.number} of {self.of}"

    @property
    def short_title(self) -> str:
        """The title, without the start of a long path."""
        return self.title if len(self.title) <= 36 else f"…{self.title[-35:]}"


@dataclass(frozen=True)
class Grouping:
    """``calls``, parents before children, and for each node its call or None."""

    calls: tuple[Call, ...]
    call_of: tuple[int | None, ...]
    order: tuple[int, ...]

    def ancestors(self, call: int | None) -> list[int | None]:
        """From ``call`` outwards to None, the whole graph."""
        chain: list[int | None] = []
        while call is not None:
            chain.append(call)
            call = self.calls[call].parent
        return [*chain, None]

    def events(self) -> Iterator[tuple[Literal["open", "node", "close"], int, int]]:
        """The nodes within their calls, as (what, node or call, depth), without recursion."""
        nodes: dict[int | None, list[int]] = {}
        for node, owner in enumerate(self.call_of):
            nodes.setdefault(owner, []).append(node)
        inner: dict[int | None, list[int]] = {}
        for number, call in enumerate(self.calls):
            inner.setdefault(call.parent, []).append(number)
        yield from (("node", node, 0) for node in nodes.get(None, ()))
        stack = [(number, False) for number in reversed(inner.get(None, []))]
        while stack:
            number, done = stack.pop()
            depth = self.calls[number].depth
            if done:
                yield "close", number, depth
                continue
            yield "open", number, depth
            yield from (("node", node, depth + 1) for node in nodes.get(number, ()))
            stack.append((number, True))
            stack.extend((child, False) for child in reversed(inner.get(number, [])))


def grouping(graph: GradGraph) -> Grouping:
    """Group the nodes by call; a call that holds only one node makes no group."""
    order = forward_order(graph)
    paths, parents, call_of = _scan(graph, order)
    _adopt_leaves(graph, order, call_of)
    return _pruned(paths, parents, call_of, order)


def _scan(
    graph: GradGraph, order: Sequence[int]
) -> tuple[list[str], list[int | None], list[int | None]]:
    """Open and close calls along the forward order, as a stack of path components."""
    paths: list[str] = []
    parents: list[int | None] = []
    call_of: list[int | None] = [None] * len(graph)
    stack: list[tuple[str, int]] = []
    for index in order:
        node = graph.nodes[index]
        if labels.is_leaf(node):
            continue
        parts = node.module.split(".") if node.module else []
        common = 0
        while common < min(len(stack), len(parts)) and stack[common][0] == parts[common]:
            common += 1
        del stack[common:]
        for depth in range(common, len(parts)):
            parents.append(stack[-1][1] if stack else None)
            paths.append(".".join(parts[: depth + 1]))
            stack.append((parts[depth], len(paths) - 1))
        call_of[index] = stack[-1][1] if stack else None
    return paths, parents, call_of


def _adopt_leaves(graph: GradGraph, order: Sequence[int], call_of: list[int | None]) -> None:
    """Put each leaf into the call that uses it first."""
    place = {node: i for i, node in enumerate(order)}
    for index, users in enumerate(topology.consumers(graph)):
        if labels.is_leaf(graph.nodes[index]) and users:
            call_of[index] = call_of[min(users, key=place.__getitem__)]


def _pruned(
    paths: list[str],
    parents: list[int | None],
    call_of: list[int | None],
    order: Sequence[int],
) -> Grouping:
    """Drop calls of one node, and calls that hold only one other call."""
    own = Counter(call for call in call_of if call is not None)
    kept = [False] * len(paths)
    inner: Counter[int] = Counter()
    for call in reversed(range(len(paths))):
        kept[call] = own[call] + inner[call] > 1 and not (own[call] == 0 and inner[call] == 1)
        parent = parents[call]
        if parent is None:
            continue
        if kept[call]:
            inner[parent] += 1
        else:
            own[parent] += own[call]
            inner[parent] += inner[call]
    nearest: list[int | None] = []
    renumbered: list[Call] = []
    for call, path in enumerate(paths):
        above = parents[call]
        outer = nearest[above] if above is not None else None
        if kept[call]:
            depth = renumbered[outer].depth + 1 if outer is not None else 0
            renumbered.append(Call(path, outer, depth))
            nearest.append(len(renumbered) - 1)
        else:
            nearest.append(outer)
    return Grouping(
        calls=_numbered(renumbered),
        call_of=tuple(None if c is None else nearest[c] for c in call_of),
        order=tuple(order),
    )


def _numbered(calls: list[Call]) -> tuple[Call, ...]:
    total = Counter(call.path for call in calls)
    seen: Counter[str] = Counter()
    result = []
    for call in calls:
        seen[call.path] += 1
        result.append(replace(call, number=seen[call.path], of=total[call.path]))
    return tuple(result)
