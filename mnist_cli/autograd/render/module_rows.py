"""The module tree for the page: what went forward through each module, and the gradient beside it.

Rows come from the calls that were recorded; without those, from the paths that the nodes have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnist_cli.autograd.graph import GradGraph, ModuleCall, Stats, TensorMeta, joint_norm
from mnist_cli.autograd.order import operations
from mnist_cli.autograd.render import labels, style


@dataclass
class _Backward:
    """What the graph knows of a module and all modules in it."""

    nodes: int = 0
    arriving: list[Stats | None] = field(default_factory=list)
    weights: list[Stats | None] = field(default_factory=list)
    storages: dict[int, int] = field(default_factory=dict)


def rows(graph: GradGraph, scale: style.Scale) -> list[dict[str, Any]]:
    """A row for each call of a module, in the order in which the calls began.

    A row's values include those of the rows inside it.
    """
    backward = _backward(graph)
    calls = list(graph.modules) or _from_paths(graph)
    totals = _totals(calls)
    return [
        _row(call, total, backward.get(call.module), scale, forward=bool(graph.modules))
        for call, total in zip(calls, totals, strict=True)
    ]


def _row(
    call: ModuleCall,
    total: tuple[int, int],
    back: _Backward | None,
    scale: style.Scale,
    *,
    forward: bool,
) -> dict[str, Any]:
    parameters, kept = total
    if not forward and back is not None:
        kept = sum(back.storages.values())
    first = back if call.call == 0 else None
    row = {
        "kind": labels.visible(call.kind),
        "inputs": _shapes(call.inputs),
        "outputs": _shapes(call.outputs),
        "parameters": f"{parameters:,}" if parameters else "",
        "activation": _activation(call.activation),
        "saved": labels.size(kept) if kept else "",
        "nodes": back.nodes if back else 0,
        "gradient": _norm(first.arriving if first else (), scale),
        "weights": _norm(first.weights if first else (), scale),
    }
    place = {"path": labels.visible(call.module), "call": call.call, "depth": call.depth}
    return place | {key: value for key, value in row.items() if value}


def _shapes(metas: Sequence[TensorMeta]) -> str:
    more = f" +{len(metas) - 3}" if len(metas) > 3 else ""
    return ", ".join(labels.shape(meta.shape) for meta in metas[:3]) + more


def _activation(stats: Stats | None) -> list[str] | None:
    """Mean, standard deviation, share of zeros, and how many entries are not finite."""
    if stats is None:
        return None
    zeros = f"{stats.zeros:.1%}" if stats.zeros == stats.zeros else "NaN"
    bad = f"{stats.nan + stats.inf:,}"
    return [labels.number(stats.mean), labels.number(stats.std), zeros, bad]


def _norm(parts: Sequence[Stats | None], scale: style.Scale) -> list[str] | None:
    norm = joint_norm(parts)
    return None if norm is None else [labels.number(norm), scale.level(norm)]


def _totals(calls: Sequence[ModuleCall]) -> list[tuple[int, int]]:
    """Parameters and saved bytes of each call with the calls inside it."""
    result = [(call.parameters, call.saved_bytes or 0) for call in calls]
    stack: list[int] = []
    for i, call in [*enumerate(calls), (len(calls), None)]:
        depth = -1 if call is None else call.depth
        while stack and calls[stack[-1]].depth >= depth:
            inner = stack.pop()
            if stack:
                (parameters, kept), (more, also) = result[stack[-1]], result[inner]
                result[stack[-1]] = parameters + more, kept + also
        stack.append(i)
    return result


def _prefixes(path: str) -> list[str]:
    """``"a.b"`` as "", the model itself, "a" and "a.b"."""
    found = []
    while path:
        found.append(path)
        path = path.rpartition(".")[0]
    return ["", *reversed(found)]


def _from_paths(graph: GradGraph) -> list[ModuleCall]:
    """Calls without statistics of the forward pass, for a graph that has none: one of each module."""
    found: dict[str, int] = {}
    for node in operations(graph):
        for path in _prefixes(node.module):
            found.setdefault(path, len(found))
    if len(found) < 2:
        return []
    own: Counter[str] = Counter()
    for one in graph.parameters:
        own[one.name.rpartition(".")[0]] += math.prod(one.shape)
    return [
        ModuleCall(path, "", 0, path.count(".") + 1 if path else 0, parameters=own[path])
        # Each module's children right behind it, otherwise in the order found.
        for path in sorted(found, key=lambda path: [found[one] for one in _prefixes(path)])
    ]


def _backward(graph: GradGraph) -> Mapping[str, _Backward]:
    """Nodes, gradients and saved memory by module, each module with all that are in it."""
    found: dict[str, _Backward] = {}
    around = {path: dict.fromkeys(_prefixes(path)) for path in {n.module for n in graph.nodes}}
    for node in graph.nodes:
        for path in around[node.module]:
            one = found.setdefault(path, _Backward())
            one.nodes += 1
            one.storages.update((s.storage, s.bytes) for s in node.saved)
    for node, position, edge in graph.edges():
        target = graph.nodes[edge.node]
        if labels.is_leaf(target) or target.module == node.module:
            continue
        stats = node.grad_out[position] if position < len(node.grad_out) else None
        for path in around[target.module]:
            if path not in around[node.module]:
                found[path].arriving.append(stats)
    for parameter in graph.parameters:
        for path in _prefixes(parameter.name.rpartition(".")[0]):
            found.setdefault(path, _Backward()).weights.append(parameter.grad)
    return found
