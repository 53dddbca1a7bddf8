"""The forward side of a graph as text: each call of a module, with the gradient beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import GradGraph, ModuleCall, Stats, joint_norm
from mnist_cli.autograd.render import columns
from mnist_cli.autograd.render.labels import number, size, visible

HEADER = (
    *("module", "kind", "input", "output"),
    *("parameters", "saved", "activation", "zeros", "gradient"),
)
TEXTUAL = 4
MAX_CALLS = 1000
"""Calls that are shown."""


def lines(graph: GradGraph, *, ascii_only: bool = False) -> list[str]:
    """The table, line by line; ``gradient`` is the norm over the module's own parameters.

    Raises:
        UsageError: the graph has no calls of modules.
    """
    if not graph.modules:
        raise UsageError(
            "the graph has no calls of modules",
            "Run the forward pass inside trace_modules(model, activations=True).",
        )
    grads: dict[str, list[Stats | None]] = defaultdict(list)
    for one in graph.parameters:
        grads[one.name.rpartition(".")[0]].append(one.grad)
    rows = [_row(call, grads[call.module]) for call in graph.modules[:MAX_CALLS]]
    found = [*columns.aligned(HEADER, rows, TEXTUAL), *_omitted(graph)]
    return list(map(columns.in_ascii, found)) if ascii_only else found


def _row(call: ModuleCall, grads: list[Stats | None]) -> tuple[str, ...]:
    norm = joint_norm(grads) if call.call == 0 else None
    name = call.module.rpartition(".")[2] or "(whole)"
    return (
        "  " * call.depth + visible(name) + (f" (call {call.call + 1})" if call.call else ""),
        visible(call.kind),
        columns.shapes(call.inputs),
        columns.shapes(call.outputs),
        columns.counted(call.parameters),
        size(call.saved_bytes) if call.saved_bytes else "",
        columns.spread(call.activation),
        f"{call.activation.zeros:.1%}" if call.activation else "",
        "" if norm is None else number(norm),
    )


def _omitted(graph: GradGraph) -> Iterator[str]:
    more = len(graph.modules) - MAX_CALLS
    if more > 0:
        yield f"… and {more:,} more calls"
