"""The answers of ``mnist inspect-grad``, a function a question: computed elsewhere, said here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_cli.autograd import compare as compare_graphs
from mnist_cli.autograd import dumps, path_to, replay_steps, require_exact
from mnist_cli.autograd.diagnosing import Diagnosis, parameter_table
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.commands.inspect import comparing, experiments, numeric
from mnist_cli.commands.inspect.dump import View, folder_for, make_dump, path_document, write_dump
from mnist_cli.commands.inspect.stepping import step_through
from mnist_cli.commands.inspect.subject import Request, Subject
from mnist_cli.report import gradients as report
from mnist_cli.report.calls import call_lines, cut_lines, experiment_lines, node_lines
from mnist_cli.report.console import note, print_json


def expression(
    formula: str,
    at: Sequence[str],
    const: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """``--expr``: a formula's node, described and called."""
    experiment = experiments.run_expression(formula, at, const, grad, orders, seed)
    if as_json:
        print_json(experiments.expression_document(experiment))
    else:
        report.print_lines(list(experiment_lines(experiment)))


def node(
    subject: Subject, wanted: str, grad: str | None, *, create_graph: bool, as_json: bool
) -> None:
    """``--node``: one node of the network, described and called."""
    called = experiments.CalledNode(subject, wanted, grad, create_graph=create_graph)
    if as_json:
        print_json(called.document())
        return
    lines = list(node_lines(called.node, called.graph))
    if called.grads:
        lines += call_lines(called.node.name, called.grads, called.results)
    report.print_lines([*lines, *cut_lines([*called.grads, *called.results])])


def gradcheck(subject: Subject, samples: int, *, as_json: bool) -> None:
    """``--gradcheck``: sampled gradients against central differences."""
    checks = numeric.check_gradients(subject, samples)
    if not as_json:
        report.print_checks(checks)
    numeric.require_close(checks)
    if as_json:
        print_json(numeric.document(checks))


def step(subject: Subject) -> None:
    """``--step``: the replay, node by node."""
    with subject.walked(saved=False) as walked:
        steps = list(replay_steps(walked))
    step_through(walked.graph, steps)


def compare(names: tuple[str, str], request: Request, tolerance: float, *, as_json: bool) -> None:
    """``--compare``: two dumps, checkpoints or runs."""
    graphs = comparing.graph_of(names[0], request), comparing.graph_of(names[1], request)
    _report_comparison(graphs, names, tolerance, as_json=as_json)


def against(
    subject: Subject, other: str, request: Request, tolerance: float, *, as_json: bool
) -> None:
    """``--against``: the same batch under another precision, device or mode, or a dump."""
    graph = make_dump(subject, replay=False).graph
    context = graph.context
    own = f"{context['precision']} on {context['device']}, {context['mode']} mode"
    graphs = graph, comparing.other_side(other, request)
    _report_comparison(graphs, (own, other), tolerance, as_json=as_json)


def _report_comparison(
    graphs: tuple[GradGraph, GradGraph],
    names: tuple[str, str],
    tolerance: float,
    *,
    as_json: bool,
) -> None:
    comparison = compare_graphs(*graphs, tolerance=tolerance)
    differences = comparing.setting_differences(*graphs)
    if as_json:
        print_json(comparing.document(comparison, names, differences))
    else:
        report.print_comparison(comparison, names, differences)


def path(subject: Subject, parameter: str, *, as_json: bool) -> None:
    """``--path``: the chain from the loss to a parameter."""
    found = path_to(make_dump(subject, replay=False).graph, parameter)
    if as_json:
        print_json(path_document(found))
    else:
        report.print_path(found)


def dump(
    subject: Subject, view: View, out: Path | None, *, replay: bool, quiet: bool, as_json: bool
) -> None:
    """The whole graph, shown and written; with ``replay`` a difference is an error at the end.

    With ``as_json`` stdout holds one document: the dump, or else what differs.
    """
    made = make_dump(subject, replay=replay)
    shown, whole = view.of(made.graph)
    if not as_json:
        if "text" in view.formats and not quiet:
            _show(shown, view.findings(made), whole=whole)
        if made.graph.replay is not None:
            report.print_verdict(made.graph.replay)
    folder = folder_for(subject, out)
    for file in write_dump(made, view, shown, folder, whole=whole, text=out is not None):
        if not (quiet or as_json):
            note(f"wrote {file}")
    if made.graph.replay is not None:
        require_exact(made.graph.replay)
    if as_json:
        sys.stdout.write(dumps(made.graph))


def _show(graph: GradGraph, findings: Sequence[Diagnosis], *, whole: bool) -> None:
    report.print_tree(graph)
    report.print_parameters(parameter_table(graph))
    report.print_diagnoses(findings, renumbered=not whole)
    report.print_lines([""])
