"""What ``mnist model`` prints: a table of a network's operations, and the totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mnist_cli.autograd.render.columns import counted
from mnist_cli.autograd.render.labels import size
from mnist_cli.report.console import print_fitting, stdout

if TYPE_CHECKING:
    from mnist_cli.inference.shown import Shown
    from mnist_cli.insight.flow import Flow, Shape, Step

TEXTUAL = ("layer", "operation")
EXPENDABLE = ("input", "statistics")
"""Columns that a narrow terminal omits: inputs are outputs of the line above, and the totals have
the statistics too."""
LAST = ("memory", "output", "multiply-adds")
"""Columns to omit next, while a word does not fit."""


def network_document(flow: Flow, shown: Shown) -> dict[str, Any]:
    """What ``--json`` prints, for one network and the whole batch."""
    return {
        "model": shown.name,
        "checkpoint": None if shown.checkpoint is None else str(shown.checkpoint),
        "notes": shown.notes,
        "classes": shown.classes,
        "members": shown.members,
        "images": list(flow.images),
        "dtype": "float32",
        "steps": [{**vars(step), "weights": vars(step.weights)} for step in flow.steps],
        "unused": dict(flow.unused),
        "totals": {
            **vars(flow.weights),
            "weight_bytes": flow.weight_bytes,
            "multiply_adds": flow.multiply_adds,
            "activation_bytes": flow.bytes,
        },
    }


def print_network(flow: Flow, shown: Shown, *, table: bool) -> None:
    """Print the operations as a table, if wanted, and the totals in words."""
    if table and flow.steps:
        rows = [_row(step, flow.images[0]) for step in flow.steps]
        empty = {name for name in ("fixed", "statistics") if not getattr(flow.weights, name)}
        kept = [{name: row[name] for name in row if name not in empty} for row in rows]
        print_fitting(kept, textual=TEXTUAL, expendable=EXPENDABLE, last=LAST)
    for line in _totals(flow, shown):
        stdout(wide=True).print(line)


def _row(step: Step, batch: int) -> dict[str, str]:
    weights = step.weights
    return {
        "#": str(step.number),
        "layer": step.module,
        "operation": step.operation + _sources(step),
        "input": ", ".join(dict.fromkeys(_shape(shape, batch) for shape in step.inputs)),
        "output": ", ".join(_shape(shape, batch) for shape in step.outputs),
        "trained": counted(weights.trained),
        "fixed": counted(weights.fixed),
        "statistics": counted(weights.statistics),
        "multiply-adds": counted(step.multiply_adds),
        "memory": size(step.bytes) if step.bytes else "",
    }


def _sources(step: Step) -> str:
    """The sources of its input, unless it is the operation before."""
    if step.sources == (step.number - 1,):
        return ""
    names = ["the images" if number == 0 else f"#{number}" for number in step.sources]
    return f" of {', '.join(names)}"


def _shape(shape: Shape, batch: int) -> str:
    """The shape for one image if the first dimension is the batch, else the whole in brackets."""
    if len(shape) > 1 and shape[0] == batch:
        return "×".join(map(str, shape[1:]))
    return f"({', '.join(map(str, shape))})"


def _totals(flow: Flow, shown: Shown) -> list[str]:
    weights, batch = flow.weights, flow.images[0]
    parts = [f"{weights.trained:,} trained", f"{weights.fixed:,} fixed" if weights.fixed else ""]
    parts.append(f"{weights.statistics:,} running statistics" if weights.statistics else "")
    images = "one image" if batch == 1 else f"{batch:,} images"
    shape = "×".join(map(str, flow.images[1:]))
    lines = [
        f"[bold]{escape(shown.name)}[/]: {shape} to {shown.classes:,} classes, "
        f"{', '.join(filter(None, parts))}; {size(flow.weight_bytes)} of weights",
        f"for {images}: {flow.multiply_adds:,} multiply-adds, "
        f"{size(flow.bytes)} of activations in float32",
    ]
    if shown.members > 1:
        lines.append(
            f"an ensemble of {shown.members} such networks: "
            f"multiply these numbers by {shown.members}"
        )
    if flow.unused:
        names = ", ".join(f"{name} ({count:,})" for name, count in flow.unused.items())
        lines.append(f"weights that are not used: {escape(names)}")
    return lines
