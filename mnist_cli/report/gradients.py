"""Gradient graphs on the terminal: the tree, the table of parameters, the replay's verdict.

Turns plain data of :mod:`mnist_cli.autograd` into lines; computes no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from mnist_cli.autograd.diagnosing import Diagnosis, ParameterRow, advised, parameter_table
from mnist_cli.autograd.graph import GradGraph, Verdict
from mnist_cli.autograd.render import module_table, tree
from mnist_cli.autograd.render.labels import visible
from mnist_cli.report.console import percent, print_table, speaks_unicode, stdout

if TYPE_CHECKING:
    from mnist_cli.autograd.comparing import GraphComparison, NodeDifference
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

MOST_NODES = 40
"""Largest number of nodes that a comparison lists."""


def print_dump(
    graph: GradGraph,
    findings: Sequence[Diagnosis],
    *,
    renumbered: bool,
    forward: bool,
) -> None:
    """A recorded graph: its tree, its parameters and the findings.

    Args:
        graph: the part that is shown.
        findings: each names its node by its id in the whole graph.
        renumbered: the ids of ``graph`` differ from the whole graph's.
        forward: show the calls of modules in place of the tree.
    """
    if forward:
        print_modules(graph)
    else:
        print_tree(graph)
    print_parameters(parameter_table(graph))
    print_diagnoses(findings, renumbered=renumbered)
    print_lines([""])


def print_tree(graph: GradGraph) -> None:
    """The whole graph as a tree, coloured by what each word is."""
    console = stdout(wide=True)
    unicode = speaks_unicode(console)
    width = console.width if console.is_terminal else 160
    for line in tree.lines(graph, ascii_only=not unicode, width=width):
        text = Text(no_wrap=True, overflow="ignore", end="")
        for span in line:
            text.append(span.text, STYLES.get(span.role, ""))
        console.print(text, soft_wrap=True)


def print_modules(graph: GradGraph) -> None:
    """Each call of a module in the forward pass, with the gradient beside it."""
    console = stdout(wide=True)
    for line in module_table.lines(graph, ascii_only=not speaks_unicode(console)):
        console.print(Text(line, no_wrap=True, overflow="ignore"), soft_wrap=True)


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
    stdout().print()
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


def print_diagnoses(findings: Sequence[Diagnosis], *, renumbered: bool = False) -> None:
    """The findings with advice, once for equal neighbours; or one line if there are none.

    Args:
        findings: each names its node by its id in the whole graph.
        renumbered: say that the ids shown differ from the whole graph's.
    """
    console = stdout(wide=True)
    console.print()
    if not findings:
        console.print("gradients look healthy", style="green")
    for finding, advice in advised(findings):
        console.print(f"[bold yellow]{finding.kind}[/]  {escape(finding.message)}", soft_wrap=True)
        if advice:
            console.print(f"  {escape(advice)}", style="dim", soft_wrap=True)
    if renumbered:
        console.print(
            "the ids above are renumbered; findings, --node and graph.json use the ids of the "
            "whole graph",
            style="dim",
            soft_wrap=True,
        )


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
        stdout().print(f"the shortest of {path.routes:,} paths; norms are of all paths together")


def print_comparison(
    comparison: GraphComparison, names: tuple[str, str], differences: Sequence[str] = ()
) -> None:
    """Where two backward passes differ, and by how much.

    Args:
        comparison: parameters, nodes and structure, compared.
        names: of the two.
        differences: of their settings, as sentences.

    A dump may come from anywhere: its names are shown without control characters.
    """
    console = stdout(wide=True)
    console.print(f"A {_safe(names[0])}\nB {_safe(names[1])}")
    for line in differences:
        console.print(f"[yellow]differs[/]  {_safe(line)}", soft_wrap=True)
    console.print()
    _print_parameter_differences(comparison)
    if (one := comparison.activation) is not None:
        console.print(
            f"[bold]the first activation to differ[/] is the output of "
            f"{escape(visible(one.module)) or 'the network'}: {one.figure} by {one.difference:.3g}"
        )
    for line in comparison.structure:
        console.print(f"[yellow]structure[/]  {_safe(line)}", soft_wrap=True)
    if comparison.first is None:
        console.print(f"no node differs by more than {comparison.tolerance:g}", style="green")
        return
    _print_node_differences(comparison)
    _print_first_difference(comparison, comparison.first)


def _print_parameter_differences(comparison: GraphComparison) -> None:
    print_table(
        ("parameter", "norm in A", "norm in B", "relative difference", "of its"),
        [
            (
                visible(one.name),
                _figure(one.first_norm),
                _figure(one.second_norm),
                _figure(one.difference),
                one.figure if one.difference else "-",
            )
            for one in comparison.parameters
        ],
    )


def _print_node_differences(comparison: GraphComparison) -> None:
    """The nodes at which what arrives differs, in the order of the backward pass."""
    apart = [one for one in comparison.nodes if one.difference > comparison.tolerance]
    stdout().print()
    print_table(
        ("node", "module", "in A", "in B", "norm in A", "norm in B", "difference", "of its"),
        [
            (
                visible(one.name),
                visible(one.module),
                f"#{one.first}",
                f"#{one.second}",
                _figure(one.first_norm),
                _figure(one.second_norm),
                _figure(one.difference),
                one.figure,
            )
            for one in apart[:MOST_NODES]
        ],
    )
    if len(apart) > MOST_NODES:
        stdout().print(f"and {len(apart) - MOST_NODES:,} more nodes")


def _print_first_difference(comparison: GraphComparison, first: NodeDifference) -> None:
    where = f" in {_safe(first.module)}" if first.module else ""
    stdout(wide=True).print(
        f"[bold]the first node to differ by more than {comparison.tolerance:g}[/] is "
        f"{_safe(first.name)}{where} (A #{first.first}, B #{first.second}): "
        f"{_figure(first.first_norm)} and {_figure(first.second_norm)}, "
        f"{_figure(first.difference)} in its {first.figure}",
        soft_wrap=True,
    )


def print_checks(checks: Sequence[GradientCheck]) -> None:
    """Autograd beside central differences, with a row per parameter."""
    print_table(
        ("parameter", "entries", "worst relative error", "autograd", "difference", "at kinks"),
        [_check_row(check) for check in checks],
    )
    worst = max(checks, key=lambda check: check.worst_error)
    stdout().print(
        f"worst relative error: [bold]{_error(worst.worst_error)}[/]"
        + (f" in {escape(worst.name)}" if worst.worst_error else "")
    )


def _check_row(check: GradientCheck) -> tuple[str, ...]:
    worst = check.worst
    return (
        check.name,
        str(len(check.entries)),
        "-" if worst is None else _error(worst.error),
        "-" if worst is None else f"{worst.analytic:.6g}",
        "-" if worst is None else f"{worst.numeric:.6g}",
        str(check.kinks),
    )


def _error(value: float) -> str:
    """A relative error, less what the rounding of the loss explains."""
    return f"{value:.2g}" if value else "none above rounding"


def _times(shape: Sequence[int]) -> str:
    times = "×" if speaks_unicode(stdout()) else "x"
    return times.join(map(str, shape)) or "scalar"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _safe(text: str) -> str:
    """Text from a file, for rich: no markup and no control characters."""
    return escape(visible(text))


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines, as they are."""
    console = stdout(wide=True)
    for line in lines:
        console.print(escape(line), soft_wrap=True)
