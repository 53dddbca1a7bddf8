"""One step of a replay in lines: inputs, call, results, and their targets.

For example, a Linear layer's bias gradient leaves its node with a row for each example. On its way
to the parameter, the rows are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_cli.autograd.graph import GradGraph, Node
from mnist_cli.autograd.render.labels import visible

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_cli.autograd.replayed import Delivery, ReplayStep

SHOWN_VALUES = 4


@dataclass(frozen=True)
class Glyphs:
    """The characters that draw a step; ASCII if the terminal has no others."""

    goes: str = "→"
    times: str = "×"
    ellipsis: str = "…"
    between: str = "·"

    @classmethod
    def ascii(cls) -> Glyphs:
        """Plain characters only."""
        return cls("->", "x", "...", "|")


def step_lines(
    step: ReplayStep, graph: GradGraph, count: int, glyphs: Glyphs | None = None
) -> list[str]:
    """One of ``count`` steps, as plain lines."""
    glyphs = glyphs or Glyphs()
    node = graph.nodes[step.node]
    lines = [f"step {step.index + 1} of {count}   {_title(node)}"]
    for number, grad in enumerate(step.grads):
        label = f"[{number}]" if len(step.grads) > 1 else "   "
        lines.append(f"  in  {label}  {describe(grad, glyphs)}")
    if step.parameter is not None:
        lines.append(f"  arrived  this is the gradient of {step.parameter}, added to its .grad")
        return [visible(line) for line in lines]
    lines.append(f"  call     {step.call}")
    for delivery in step.deliveries:
        lines += _delivery(delivery, graph, glyphs)
    for name in step.inside:
        lines.append(f"  inside   its own backward changed the gradient of {name}")
    return [visible(line) for line in lines]


def _title(node: Node) -> str:
    where = f"   {node.module}" if node.module else ""
    return f"#{node.id} {node.name}{where}"


def _delivery(delivery: Delivery, graph: GradGraph, glyphs: Glyphs) -> Iterator[str]:
    target = graph.nodes[delivery.edge.node]
    name = f"parameter {target.parameter}" if target.parameter else target.name
    port = f" input {delivery.edge.input_nr}" if len(target.outputs) > 1 else ""
    where = f"{glyphs.goes} #{target.id} {name}{port}"
    if delivery.raw is None:
        yield f"  out [{delivery.position}]  no gradient {where}"
        return
    yield f"  out [{delivery.position}]  {describe(delivery.raw, glyphs)}  {where}"
    if delivery.reduced and delivery.sent is not None:
        before, after = _shape(delivery.raw, glyphs), _shape(delivery.sent, glyphs)
        yield f"           summed to shape on the way: {before} {glyphs.goes} {after}"
        yield f"           {glyphs.goes} {describe(delivery.sent, glyphs)}"
    if delivery.cast and delivery.sent is not None:
        yield f"           cast on the way: {_dtype(delivery.raw)} {glyphs.goes} {_dtype(delivery.sent)}"
    if delivery.met is not None and delivery.total is not None:
        yield f"           added to what had arrived before: {describe(delivery.total, glyphs)}"
    if not delivery.ready:
        yield f"           #{target.id} waits for more gradients"


def describe(tensor: Tensor | None, glyphs: Glyphs | None = None) -> str:
    """A tensor in a line: shape, dtype, 2-norm and its first values."""
    import torch

    from mnist_cli.autograd.bits import entries, without_values

    glyphs = glyphs or Glyphs()
    if tensor is None:
        return "no gradient"
    if reason := without_values(tensor):
        return f"{_shape(tensor, glyphs)} {_dtype(tensor)}  ({reason})"
    real = entries(tensor)
    flat = torch.view_as_complex(real.view(-1, 2)) if tensor.is_complex() else real
    more = f", {glyphs.ellipsis}" if len(flat) > SHOWN_VALUES else ""
    values = ", ".join(f"{value:.4g}" for value in flat[:SHOWN_VALUES].tolist())
    norm = real.double().norm().item()
    return f"{_shape(tensor, glyphs)} {_dtype(tensor)}  norm {norm:.4g}  [{values}{more}]"


def _shape(tensor: Tensor, glyphs: Glyphs) -> str:
    from mnist_cli.autograd.bits import shape_of

    shape = shape_of(tensor)
    return "nested" if shape is None else glyphs.times.join(map(str, shape)) or "scalar"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def find_step(steps: Sequence[ReplayStep], graph: GradGraph, text: str) -> int | None:
    """The place of the first step that ``text`` names; None if there is none.

    ``text`` is a node's id, name, parameter or module, or a part of the step's title.
    """
    text = text.strip().removeprefix("#")
    wanted = text.lower()
    for index, step in enumerate(steps):
        node = graph.nodes[step.node]
        names = {node.name.lower(), node.module.lower(), (node.parameter or "").lower()}
        if text.isdigit() and node.id == int(text):
            return index
        if not text.isdigit() and wanted and wanted in names:
            return index
    if not wanted or text.isdigit():
        return None
    return next(
        (i for i, step in enumerate(steps) if wanted in _title(graph.nodes[step.node]).lower()),
        None,
    )
