"""Gradient graphs on the terminal: the tree, the table of parameters, the replay's verdict.

Turns plain data of :mod:`mnist_cli.autograd` into lines; computes nothing of a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from mnist_cli.autograd.render import tree
from mnist_cli.report.console import percent, print_table, stdout

if TYPE_CHECKING:
    from mnist_cli.autograd.comparing import GraphComparison
    from mnist_cli.autograd.diagnosing import Diagnosis, ParameterRow
    from mnist_cli.autograd.graph import GradGraph, Verdict
    from mnist_cli.autograd.numeric import GradientCheck
    from mnist_cli.autograd.query import Path

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


def print_parameters(rows: Sequence[ParameterRow]) -> None:
    """The table of parameters: gradient beside weight."""
    print_table(
        ("parameter", "shape", "gradient norm", "weight norm", "gradient / weight", "zeros"),
        [
            (
                row.name,
                _times(row.shape),
                _figure(row.grad_norm),
                _figure(row.weight_norm),
                _figure(row.ratio),
                "-" if row.dead is None else percent(row.dead),
            )
            for row in rows
        ],
    )


def print_diagnoses(findings: Sequence[Diagnosis]) -> None:
    """What is wrong with the gradients, in words; one line where nothing is."""
    console = stdout()
    if not findings:
        console.print("gradients look healthy", style="green")
    for finding in findings:
        console.print(f"[bold yellow]{finding.kind}[/]  {escape(finding.message)}")


def print_path(path: Path) -> None:
    """The chain from the loss to a parameter, with the gradient's norm at each step."""
    print_table(
        ("node", "id", "module", "shape", "gradient norm", "left by"),
        [
            (
                f"parameter {step.node.parameter}" if step.node.parameter else step.node.name,
                f"#{step.node.id}",
                step.node.module,
                "-" if step.grad is None else _times(step.grad.shape),
                "-" if step.grad is None else _figure(step.grad.norm),
                "-" if step.position is None else f"result {step.position}",
            )
            for step in path.steps
        ],
    )
    if path.routes > 1:
        stdout().print(f"the shortest of {path.routes:,} ways; norms are of all ways together")


def print_comparison(comparison: GraphComparison, names: tuple[str, str]) -> None:
    """Where two backward passes part, and how far each parameter's gradients are apart."""
    console = stdout(wide=True)
    console.print(f"A {escape(names[0])}\nB {escape(names[1])}")
    print_table(
        ("parameter", "norm in A", "norm in B", "relative difference", "of its"),
        [
            (
                one.name,
                _figure(one.first_norm),
                _figure(one.second_norm),
                _figure(one.difference),
                one.figure,
            )
            for one in comparison.parameters
        ],
    )
    for line in comparison.structure:
        console.print(f"[yellow]structure[/]  {escape(line)}")
    first, tolerance = comparison.first, comparison.tolerance
    if first is None:
        console.print(f"no node differs by more than {tolerance:g}", style="green")
        return
    where = f" in {first.module}" if first.module else ""
    console.print(
        f"[bold]the first node to differ by more than {tolerance:g}[/] is "
        f"{escape(first.name)}{escape(where)} (A #{first.first}, B #{first.second}): "
        f"{_figure(first.first_norm)} and {_figure(first.second_norm)}, "
        f"{_figure(first.difference)} in its {first.figure}"
    )


def print_checks(checks: Sequence[GradientCheck]) -> None:
    """Autograd beside central differences, a row a parameter."""
    print_table(
        ("parameter", "entries", "worst relative error", "autograd", "difference", "at kinks"),
        [_check_row(check) for check in checks],
    )
    worst = max(checks, key=lambda check: check.worst_error)
    stdout().print(f"worst relative error [bold]{worst.worst_error:.2g}[/] in {worst.name}")


def _check_row(check: GradientCheck) -> tuple[str, ...]:
    worst = check.worst
    return (
        check.name,
        str(len(check.entries)),
        "-" if worst is None else f"{worst.error:.2g}",
        "-" if worst is None else f"{worst.analytic:.6g}",
        "-" if worst is None else f"{worst.numeric:.6g}",
        str(check.kinks),
    )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines, as they are."""
    console = stdout(wide=True)
    for line in lines:
        console.print(escape(line), soft_wrap=True)
