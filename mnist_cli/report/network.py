"""What ``mnist model`` shows: the data's way through a network as a table, and the totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape

from mnist_cli.autograd.render.labels import size
from mnist_cli.report.console import print_fitting, stdout

if TYPE_CHECKING:
    from mnist_cli.insight.flow import Flow, Shape, Step

TEXTUAL = ("layer", "operation")
EXPENDABLE = ("input", "statistics")
"""An input stands in the line above as an output; the totals have the statistics too."""


@dataclass(frozen=True)
class Subject:
    """Which network it is: its name, what it tells apart, and how many of it vote."""

    name: str
    classes: int
    members: int = 1


def print_network(flow: Flow, subject: Subject, *, table: bool) -> None:
    """The steps as a table, if wanted, and the totals in words."""
    if table and flow.steps:
        rows = [_row(step, flow.images[0]) for step in flow.steps]
        empty = {name for name in ("fixed", "statistics") if not getattr(flow.weights, name)}
        shown = [{name: row[name] for name in row if name not in empty} for row in rows]
        print_fitting(shown, textual=TEXTUAL, expendable=EXPENDABLE)
    for line in _totals(flow, subject):
        stdout(wide=True).print(line)


def _row(step: Step, batch: int) -> dict[str, str]:
    weights = step.weights
    return {
        "#": str(step.number),
        "layer": step.module,
        "operation": step.operation + _sources(step),
        "input": ", ".join(dict.fromkeys(_shape(shape, batch) for shape in step.inputs)),
        "output": ", ".join(_shape(shape, batch) for shape in step.outputs),
        "trained": _count(weights.trained),
        "fixed": _count(weights.fixed),
        "statistics": _count(weights.statistics),
        "multiply-adds": _count(step.multiply_adds),
        "memory": size(step.bytes) if step.bytes else "",
    }


def _sources(step: Step) -> str:
    """Where its input comes from, unless from the step before."""
    if step.sources == (step.number - 1,):
        return ""
    names = ["the images" if number == 0 else f"#{number}" for number in step.sources]
    return f" of {', '.join(names)}"


def _shape(shape: Shape, batch: int) -> str:
    """Of one image, where the first dimension is the batch; else as it is, in brackets."""
    if len(shape) > 1 and shape[0] == batch:
        return "×".join(map(str, shape[1:]))
    return f"({', '.join(map(str, shape))})"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _totals(flow: Flow, subject: Subject) -> list[str]:
    weights, batch = flow.weights, flow.images[0]
    parts = [f"{weights.trained:,} trained", f"{weights.fixed:,} fixed" if weights.fixed else ""]
    parts.append(f"{weights.statistics:,} running statistics" if weights.statistics else "")
    images = "one image" if batch == 1 else f"{batch:,} images"
    shape = "×".join(map(str, flow.images[1:]))
    lines = [
        f"[bold]{escape(subject.name)}[/]: {shape} to {subject.classes:,} classes, "
        f"{', '.join(filter(None, parts))}; {size(flow.weight_bytes)} of weights",
        f"for {images}: {flow.multiply_adds:,} multiply-adds, "
        f"{size(flow.bytes)} of activations in float32",
    ]
    if subject.members > 1:
        lines.append(f"{subject.members} of them vote: all figures times {subject.members}")
    if flow.unused:
        names = ", ".join(f"{name} ({count:,})" for name, count in flow.unused.items())
        lines.append(f"held, but not used: {escape(names)}")
    return lines
