"""How figures, shapes and names are written, the same in every format.

The text has no control characters; each renderer escapes it for its own syntax.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mnist_cli.autograd.brief import visible as visible
from mnist_cli.autograd.graph import GradGraph, Node, TensorMeta, Totals

_NODE_NAME = re.compile(r"(?P<operation>.+?)(?P<suffix>Backward\d*)", re.DOTALL)
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

LONGEST = 34
"""Characters of a name in a picture."""


def split_name(name: str) -> tuple[str, str]:
    """``"ConvolutionBackward0"`` as ``("Convolution", "Backward0")``."""
    match = _NODE_NAME.fullmatch(name)
    return (match["operation"], match["suffix"]) if match else (name, "")


def without_middle(string: str, longest: int = LONGEST) -> str:
    """A long string without its middle: names differ at their ends."""
    if len(string) <= longest:
        return string
    head = (longest - 1) // 2
    return f"{string[:head]}…{string[-(longest - 1 - head) :]}"


def is_leaf(node: Node) -> bool:
    """Whether the node is an AccumulateGrad: not a folded module of that name."""
    named = node.name.endswith("AccumulateGrad")
    return node.parameter is not None or (named and not any(node.next))


def shape(sizes: Sequence[int], *, times: str = "×") -> str:
    """``(64, 10)`` as ``"64×10"``; no dimensions at all as ``"scalar"``."""
    return times.join(map(str, sizes)) or "scalar"


def outputs(metas: Sequence[TensorMeta], *, times: str = "×") -> str:
    """The first result's shape, and how many more there are."""
    if not metas:
        return ""
    more = f" +{len(metas) - 1}" if len(metas) > 1 else ""
    return shape(metas[0].shape, times=times) + more


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}".replace("nan", "NaN")


def size(count: int) -> str:
    """Bytes in binary units: ``"5.5 MiB"``."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_BYTE_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_BYTE_UNITS[unit]}"


def counted(count: int, noun: str) -> str:
    """``"1 node"``, ``"2 nodes"``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def summary(nodes: Sequence[Node]) -> str:
    """How many operations and parameters a box stands for."""
    leaves = sum(map(is_leaf, nodes))
    operations = [counted(len(nodes) - leaves, "operation")] if len(nodes) > leaves else []
    return " · ".join([*operations, *([counted(leaves, "parameter")] if leaves else [])])


def edge_norm(node: Node, position: int) -> float | None:
    """The norm of the gradient that leaves ``node`` along ``next[position]``."""
    stats = node.grad_out[position] if position < len(node.grad_out) else None
    return None if stats is None else stats.norm


def origin(graph: GradGraph) -> list[str]:
    """The origin of a graph, in short phrases."""
    context = graph.context
    phrases = [visible(context[k]) for k in ("model", "dataset") if context.get(k)]
    where = [visible(context[k]) for k in ("device", "precision") if context.get(k)]
    if where:
        phrases.append(" ".join(where))
    if isinstance(context.get("batch"), (list, tuple)):
        phrases.append(counted(len(context["batch"]), "example"))
    if isinstance(context.get("loss"), (int, float)):
        phrases.append(f"loss {float(context['loss']):.6g}")
    if context.get("shown"):
        phrases.append(visible(context["shown"]))
    if context.get("torch"):
        phrases.append(f"torch {visible(context['torch'])}")
    return phrases


def counts(totals: Totals) -> list[str]:
    """The totals of a graph, in short phrases."""
    kept = f"{counted(totals.saved_tensors, 'saved tensor')}, {size(totals.saved_bytes)}"
    return [
        counted(totals.nodes, "node"),
        counted(totals.edges, "edge"),
        f"{kept} kept for backward",
    ]


def verdict(graph: GradGraph) -> str:
    """The result of a replay, in one phrase; empty without a replay."""
    replay = graph.replay
    if replay is None:
        return ""
    calls = counted(replay.calls, "call")
    if replay.exact:
        return f"replayed in {calls}: every gradient bit-equal"
    different = sum(not p.equal for p in replay.parameters)
    of = f"{different} of {counted(len(replay.parameters), 'parameter')}"
    return f"replayed in {calls}: {of} differ"
