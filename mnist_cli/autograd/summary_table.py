"""A summary of a module as plain data, as text and as a table for a notebook.

Knows neither torch nor modules; :mod:`mnist_cli.autograd.summarizing` makes one.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_cli.autograd.graph import Stats, TensorMeta
from mnist_cli.autograd.render import columns
from mnist_cli.autograd.render.labels import size, visible

MAX_ROWS = 200
"""Rows that a printed table has."""

HEADER = (
    *("layer", "kind", "input", "output", "parameters", "trainable"),
    *("multiply-adds", "saved", "activation"),
)
TEXTUAL = 4
"""Columns at the left that hold text; the others hold numbers."""


@dataclass(frozen=True)
class SummaryRow:
    """One call of a module, or a module with parameters that is never called.

    Numbers exclude the module's children, so that the rows add up. A shared parameter counts in
    the first row that has it.

    Attributes:
        module: the path; empty for the whole.
        kind: name of the module's class.
        call: number of earlier calls of the same module; None if it is never called.
        depth: the calls that this one is inside of.
        inputs: every tensor in the arguments.
        outputs: every tensor in the result.
        parameters: entries of its parameters.
        trainable: of these, entries that require a gradient.
        multiply_adds: pairs of a multiplication and an addition.
        saved_bytes: memory that it keeps for backward; see
            :class:`mnist_cli.autograd.graph.ModuleCall`.
        activation: statistics of the first output; None without an output that can be read.
    """

    module: str
    kind: str
    call: int | None
    depth: int
    inputs: tuple[TensorMeta, ...] = ()
    outputs: tuple[TensorMeta, ...] = ()
    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0
    saved_bytes: int | None = None
    activation: Stats | None = None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of :data:`HEADER`."""
        name = self.module.rpartition(".")[2] or "(whole)"
        again = f" (call {self.call + 1})" if self.call else ""
        unused = " (not called)" if self.call is None else ""
        return (
            "  " * self.depth + visible(name) + again + unused,
            visible(self.kind),
            columns.shapes(self.inputs),
            columns.shapes(self.outputs),
            columns.counted(self.parameters),
            columns.counted(self.trainable),
            columns.counted(self.multiply_adds),
            size(self.saved_bytes) if self.saved_bytes else "",
            columns.spread(self.activation),
        )


@dataclass(frozen=True)
class Summary:
    """What one forward pass through a module shows.

    Attributes:
        rows: in the order in which the calls began.
        total_parameters: entries of all parameters, called or not, shared ones once.
        trainable_parameters: of these, entries that require a gradient.
        parameter_bytes: memory of all parameters.
        total_buffers: entries of all buffers, such as running statistics.
        training: whether the module was in training mode.
        notes: what could not be counted, and why.
    """

    rows: tuple[SummaryRow, ...]
    total_parameters: int
    trainable_parameters: int
    parameter_bytes: int
    total_buffers: int
    training: bool
    notes: tuple[str, ...] = ()

    @property
    def multiply_adds(self) -> int:
        """Of all rows."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def saved_bytes(self) -> int:
        """Memory that all rows keep for backward."""
        return sum(row.saved_bytes or 0 for row in self.rows)

    def totals(self) -> list[str]:
        """The totals in words."""
        mode = "training" if self.training else "evaluation"
        return [
            f"{self.total_parameters:,} parameters ({size(self.parameter_bytes)}), "
            f"{self.trainable_parameters:,} trainable; {self.total_buffers:,} entries of buffers",
            f"in {mode} mode: {self.multiply_adds:,} multiply-adds, "
            f"{size(self.saved_bytes)} kept for backward",
            *map(visible, self.notes),
        ]

    def __str__(self) -> str:
        shown = [row.cells() for row in self.rows[:MAX_ROWS]]
        lines = columns.aligned(HEADER, shown, TEXTUAL)
        return "\n".join([*lines, *self._omitted(), lines[1], *self.totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(row.cells()) for row in self.rows[:MAX_ROWS])
        notes = "".join(
            f"<p>{html.escape(line)}</p>" for line in (*self._omitted(), *self.totals())
        )
        return (
            f"<table><thead>{_html_row(HEADER, 'th')}</thead><tbody>{rows}</tbody></table>{notes}"
        )

    def _omitted(self) -> Sequence[str]:
        more = len(self.rows) - MAX_ROWS
        return [f"… and {more:,} more in .rows"] if more > 0 else []


def _html_row(cells: Sequence[str], tag: str = "td") -> str:
    left = ' style="text-align:left;white-space:pre"'
    right = ' style="text-align:right"'
    return "".join(
        f"<{tag}{left if i < TEXTUAL else right}>{html.escape(cell)}</{tag}>"
        for i, cell in enumerate(cells)
    ).join(("<tr>", "</tr>"))
