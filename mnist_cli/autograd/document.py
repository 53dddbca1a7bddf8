"""The JSON form of a gradient graph, written; :mod:`mnist_cli.autograd.reading` reads it.

Knows the document's layout and nothing of torch. The same graph gives the same bytes:
keys stand in a fixed order, floats are written so that they read back to the same bits,
and what JSON cannot hold (NaN, the infinities) is written as strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mnist_cli.autograd.graph import (
    FORMAT,
    VERSION,
    Comparison,
    GradGraph,
    Node,
    Parameter,
    Saved,
    Stats,
    Verdict,
)

RESERVED = ("format", "version", "root", "nodes", "parameters", "replay", "unreadable")
"""Keys of the document that no ``context`` may use."""
STATS_FLOATS = ("norm", "mean", "std", "min", "max", "zeros")
"""The figures of a gradient that are floats, in the order of the document."""


def dumps(graph: GradGraph) -> str:
    """The document as text with one node and one parameter a line.

    So a difference between two dumps is a line of ``diff``; and the encoder written in C
    does the work, which ``json.dumps(indent=…)`` would leave to the one in Python.
    """
    lines = [f"{_text(key)}: {_text(value)}" for key, value in _head(graph).items()]
    lines.append(_rows("nodes", (node_to_dict(node) for node in graph.nodes)))
    lines.append(_rows("parameters", (_parameter(p) for p in graph.parameters)))
    lines.extend(f"{_text(key)}: {_text(value)}" for key, value in _tail(graph).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def node_to_dict(node: Node) -> dict[str, Any]:
    """One node as it stands in the document."""
    return {
        "id": node.id,
        "name": node.name,
        "module": node.module,
        "parameter": node.parameter,
        "sequence": node.sequence,
        "outputs": [{"shape": list(m.shape), "dtype": m.dtype} for m in node.outputs],
        "next": [e and {"node": e.node, "input_nr": e.input_nr} for e in node.next],
        "saved": [_saved(saved) for saved in node.saved],
        "attributes": plain(node.attributes),
        "grad_in": [_stats(stats) for stats in node.grad_in],
        "grad_out": [_stats(stats) for stats in node.grad_out],
    }


def plain(value: Any) -> Any:
    """JSON's own types: tuples become lists, and NaN and the infinities strings."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(f"a gradient graph holds plain values, not {type(value).__name__}")


def _rows(key: str, rows: Iterable[dict[str, Any]]) -> str:
    body = ",\n".join(_text(row) for row in rows)
    return f'"{key}": [\n{body}\n]' if body else f'"{key}": []'


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _head(graph: GradGraph) -> dict[str, Any]:
    taken = [key for key in graph.context if key in RESERVED]
    if taken:
        raise ValueError(f"a graph's context cannot hold the document's own key {taken[0]!r}")
    context = {str(key): plain(value) for key, value in graph.context.items()}
    return {"format": FORMAT, "version": VERSION, **context, "root": graph.root}


def _tail(graph: GradGraph) -> dict[str, Any]:
    tail: dict[str, Any] = {"replay": None if graph.replay is None else _verdict(graph.replay)}
    if graph.unreadable:
        tail["unreadable"] = list(graph.unreadable)
    return tail


def _saved(saved: Saved) -> dict[str, Any]:
    return {
        "slot": saved.slot,
        "shape": list(saved.shape),
        "dtype": saved.dtype,
        "bytes": saved.bytes,
        "storage": saved.storage,
    }


def _stats(stats: Stats | None) -> dict[str, Any] | None:
    if stats is None:
        return None
    figures = {name: _float(getattr(stats, name)) for name in STATS_FLOATS}
    return {"shape": list(stats.shape), **figures, "nan": stats.nan, "inf": stats.inf}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    row = {
        "name": parameter.name,
        "node": parameter.node,
        "shape": list(parameter.shape),
        "grad": _stats(parameter.grad),
        "weight": _stats(parameter.weight),
    }
    return {**row, "frozen": True} if parameter.frozen else row


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "exact": verdict.exact,
        "calls": verdict.calls,
        "parameters": [_comparison(one) for one in verdict.parameters],
        "nodes": [_comparison(one) for one in verdict.nodes],
        "notes": list(verdict.notes),
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "name": one.name,
        "equal": one.equal,
        "max_abs_diff": _float(one.max_abs_diff),
        "max_ulp": one.max_ulp,
    }


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
