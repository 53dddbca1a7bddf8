"""Gradient graphs on the terminal: the tree, the table of parameters, the replay's verdict.

Turns plain data of :mod:`mnist_cli.autograd` into lines; computes nothing of a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from mnist_cli.autograd.render import tree
from mnist_cli.report.console import print_table, stdout

if TYPE_CHECKING:
    from mnist_cli.autograd.graph import GradGraph, Verdict

STYLES: Mapping[str, str] = {
    "title": "bold",
    "gutter": "dim",
    "slot": "dim",
    "id": "cyan",
    "operation": "bold",
    "suffix": "dim",
    "parameter": "green",
    "module": "blue",
    "shape": "dim",
    "norm": "magenta",
    "alarm": "bold red",
    "note": "dim",
    "space": "",
}


def print_tree(graph: GradGraph) -> None:
    """The whole graph as a tree, coloured by what each word is."""
    console = stdout(wide=True)
    unicode = (console.encoding or "").lower().startswith("utf")
    width = console.width if console.is_terminal else 160
    for line in tree.lines(graph, ascii_only=not unicode, width=width):
        text = Text(no_wrap=True, overflow="ignore", end="")
        for span in line:
            text.append(span.text, STYLES.get(span.role, ""))
        console.print(text, soft_wrap=True)


def print_verdict(verdict: Verdict) -> None:
    """What the replay found, parameter by parameter."""
    print_table(
        ("parameter", "replay = autograd", "largest difference", "ULPs"),
        [
            (
                one.name,
                "bit-equal" if one.equal else "DIFFERS",
                f"{one.max_abs_diff:.3g}",
                f"{one.max_ulp:,}",
            )
            for one in verdict.parameters
        ],
    )
    console = stdout()
    equal = sum(one.equal for one in verdict.parameters)
    count = len(verdict.parameters)
    style = "bold green" if verdict.exact else "bold red"
    console.print(
        f"[{style}]replay: {verdict.calls} nodes called by hand, {equal} of {count} parameters' "
        f"gradients bit-equal to autograd's[/]"
    )
    if verdict.nodes:
        same = sum(one.equal for one in verdict.nodes)
        console.print(f"what arrived: bit-equal at {same} of {len(verdict.nodes)} nodes")
    for note in verdict.notes:
        console.print(escape(note), style="yellow")


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines, as they are."""
    console = stdout(wide=True)
    for line in lines:
        console.print(escape(line), soft_wrap=True)
