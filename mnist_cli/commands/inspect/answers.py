"""The answers of ``mnist inspect-grad``, one function each, which computes and reports it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_cli.autograd import compare as compare_graphs
from mnist_cli.autograd import document, gradient_flow, load, path_to, replay_steps, require_exact
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.base.files import is_there
from mnist_cli.base.packages import import_failure
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.commands.inspect.subject import Asked
from mnist_cli.config.choices import DEVICE, DEVICES
from mnist_cli.errors import UsageError
from mnist_cli.gradients import comparison, experiments, gradcheck
from mnist_cli.gradients.batch_loss import BatchLoss
from mnist_cli.gradients.dump import Dump, make_dump, path_document
from mnist_cli.gradients.view import View, has_pictures, write_graphs
from mnist_cli.report import gradients as report
from mnist_cli.report import lessons
from mnist_cli.report.console import note, print_json
from mnist_cli.report.node_calls import called_node_lines, experiment_lines
from mnist_cli.report.stepping import step_through

PRECISIONS = ("fp32", "bf16", "fp16")
MODES = {"train": True, "eval": False}


def formula(
    text: str,
    at: Sequence[str],
    const: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """``--expr``: a formula's node, described and called."""
    found = experiments.call_formula(text, at, const, grad, orders, seed)
    if as_json:
        print_json(experiments.formula_document(found))
    else:
        report.print_lines(experiment_lines(found))


def node(
    batch: BatchLoss, wanted: str, grad: str | None, *, create_graph: bool, as_json: bool
) -> None:
    """``--node``: one node of the network, described and called."""
    found = experiments.call_one(batch, wanted, grad, create_graph=create_graph)
    if as_json:
        print_json(experiments.call_document(found))
    else:
        report.print_lines(called_node_lines(found.node, found.graph, found.grads, found.results))


def check(batch: BatchLoss, samples: int, *, as_json: bool) -> None:
    """``--gradcheck``: sampled gradients against central differences."""
    checks = gradcheck.check_gradients(batch, samples)
    if not as_json:
        report.print_checks(checks)
    gradcheck.require_close(checks)
    if as_json:
        print_json(gradcheck.document(checks))


def step(batch: BatchLoss) -> None:
    """``--step``: the replay, node by node."""
    with batch.walked(saved=False) as walked:
        steps = list(replay_steps(walked))
    step_through(walked.graph, steps)


def compare(names: tuple[str, str], asked: Asked, tolerance: float, *, as_json: bool) -> None:
    """``--compare``: two dumps, checkpoints or runs."""
    graphs = _graph_of(names[0], asked), _graph_of(names[1], asked)
    _report_comparison(graphs, names, tolerance, as_json=as_json)


def against(batch: BatchLoss, other: str, asked: Asked, tolerance: float, *, as_json: bool) -> None:
    """``--against``: the same batch under another precision, device or mode, or a dump."""
    graph = make_dump(batch).graph
    context = graph.context
    own = f"{context['precision']} on {context['device']}, {context['mode']} mode"
    graphs = graph, _other_side(other, asked)
    if not is_there(Path(other)) and not comparison.setting_differences(*graphs):
        note(
            f"both sides are {own}: this shows only that the result repeats; choose side A with "
            "--precision, --device, --train or --eval"
        )
    _report_comparison(graphs, (own, other), tolerance, as_json=as_json)


def _other_side(other: str, asked: Asked) -> GradGraph:
    word = other.lower()
    if word in PRECISIONS:
        return asked.graph(precision=word)
    if word in MODES:
        return asked.graph(training=MODES[word])
    if word != "auto" and re.fullmatch(DEVICE, word):
        return asked.graph(device=word)
    if is_there(Path(other)):
        return _graph_of(other, asked)
    known = [*PRECISIONS, *MODES, *DEVICES[1:]]
    raise UsageError(
        f"--against {other}: no such file, and none of {', '.join(known)}",
        did_you_mean(other, known),
    )


def _graph_of(target: str, asked: Asked) -> GradGraph:
    """A dump (``.json``) is read; of a checkpoint or run the graph is made now."""
    path = Path(target)
    return load(path) if path.suffix == ".json" else asked.graph(path)


def _report_comparison(
    graphs: tuple[GradGraph, GradGraph],
    names: tuple[str, str],
    tolerance: float,
    *,
    as_json: bool,
) -> None:
    found = compare_graphs(*graphs, tolerance=tolerance)
    differences = comparison.setting_differences(*graphs)
    if as_json:
        print_json(comparison.document(found, names, differences))
    else:
        report.print_comparison(found, names, differences)


def path(batch: BatchLoss, parameter: str, *, as_json: bool) -> None:
    """``--path``: the chain from the loss to a parameter."""
    found = path_to(make_dump(batch).graph, parameter)
    if as_json:
        print_json(path_document(found))
    else:
        report.print_path(found)


def dump(
    batch: BatchLoss,
    view: View,
    formats: Sequence[str],
    out: Path | None,
    *,
    replay: bool,
    quiet: bool,
    as_json: bool,
) -> list[Path]:
    """The whole graph, shown and written; with ``replay`` a difference is an error at the end.

    With ``as_json`` stdout holds one document: the dump, or else what differs.

    Returns:
        The files.
    """
    made = make_dump(batch, replay=replay)
    shown, whole = view.of(made.graph)
    findings = made.findings_in(view.module or "")
    if not as_json:
        if "text" in formats and not (quiet and len(formats) > 1):
            report.print_dump(shown, findings, renumbered=not whole, forward=view.forward)
        if made.graph.replay is not None:
            report.print_verdict(made.graph.replay)
    files = [name for name in formats if name != "text" or out is not None]
    folder = out or _own_folder(batch)
    order = made.order if whole else None
    written = write_graphs(
        files,
        made.graph,
        shown,
        folder,
        direction=view.direction,
        order=order,
        findings=made.findings if whole else None,
    )
    if has_pictures(files):
        written += _draw_flow(made, folder)
    if not (quiet or as_json):
        for file in written:
            note(f"wrote {file}")
        lessons.point_to(findings[0].kind if findings else "gradients")
    if made.graph.replay is not None:
        require_exact(made.graph.replay)
    if as_json:
        document.dump(made.graph, sys.stdout)
    return written


def _own_folder(batch: BatchLoss) -> Path:
    """``grad/`` in the checkpoint's run, or here if it has no run."""
    folder = batch.source.parent if batch.source is not None else Path()
    return folder / "grad" if (folder / "config.toml").is_file() else Path("grad")


def _draw_flow(made: Dump, folder: Path) -> list[Path]:
    try:
        from mnist_cli.report.flow_figure import save_gradient_flow

        file = folder / "flow.png"
        title = f"Gradient flow of {made.graph.context.get('model', 'the graph')}"
        save_gradient_flow(gradient_flow(made.graph), file, title=title)
    except ImportError as error:
        note(f"flow.png is not drawn: {import_failure(error)}")
        return []
    return [file]
