"""``mnist inspect-grad``: the backward graph of one batch, shown, asked and proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.commands import options
from mnist_cli.commands.inspect import flags
from mnist_cli.commands.inspect.dump import DEFAULT_FORMATS
from mnist_cli.commands.inspect.numeric import BATCH as GRADCHECK_BATCH
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.commands.inspect.dump import Dump, View
    from mnist_cli.commands.inspect.subject import Request, Subject

WITHOUT_REPLAY = ("--expr", "--node", "--compare", "--against", "--path", "--gradcheck", "--step")
"""Questions whose answer has no place for what a replay found."""


def inspect_grad(
    checkpoint: options.CheckpointArgument = None,
    replay: flags.ReplayFlag = False,
    step: flags.StepFlag = False,
    expr: flags.ExprFlag = None,
    at: flags.AtFlag = None,
    const: flags.ConstFlag = None,
    node: flags.NodeFlag = None,
    grad: flags.GradFlag = None,
    create_graph: flags.CreateGraphFlag = False,
    orders: flags.OrdersFlag = None,
    path: flags.PathFlag = None,
    module: flags.ModuleFlag = None,
    fold: flags.FoldFlag = None,
    depth: flags.DepthFlag = None,
    compare: flags.CompareFlag = None,
    against: flags.AgainstFlag = None,
    tolerance: flags.ToleranceFlag = flags.TOLERANCE,
    gradcheck: flags.GradcheckFlag = False,
    samples: flags.SamplesFlag = 5,
    formats: flags.FormatsFlag = DEFAULT_FORMATS,
    direction: flags.DirectionFlag = None,
    out: flags.OutFlag = None,
    model: options.ModelOption = None,
    batch: flags.BatchFlag = None,
    indices: flags.IndicesFlag = None,
    split: flags.SplitFlag = "train",
    training: flags.TrainingFlag = True,
    seed: options.SeedOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    deterministic: flags.DeterministicFlag = True,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show the backward graph of one batch's loss, with the real gradient at every node.

    Prints it as a tree and writes graph.json, graph.svg and graph.html (a page to click
    through). With --replay every grad_fn is called by hand, and the result compared with
    autograd's, bit for bit. Without a checkpoint and without any run, a fresh seeded network on
    the bundled digits is inspected.
    """
    from mnist_cli.commands.inspect import dump as dumps
    from mnist_cli.commands.inspect.subject import Request

    questions: dict[str, object] = {
        "--step": step,
        "--path": path,
        "--compare": compare,
        "--against": against,
        "--expr": expr,
        "--node": node,
        "--gradcheck": gradcheck,
    }
    _refuse_together(questions)
    shaping = {
        "--module": module,
        "--fold": fold,
        "--depth": depth,
        "--format": formats if formats != DEFAULT_FORMATS else None,
        "--direction": direction,
        "--out": out,
    }
    _refuse_beside(questions, shaping)
    _refuse_beside({"--expr": expr, "--compare": compare}, {"CHECKPOINT": checkpoint})
    _refuse_beside({q: questions[q] for q in WITHOUT_REPLAY}, {"--replay": replay})
    _refuse_beside({"--step": step}, {"--json": as_json})
    _refuse_alone(
        {"--grad": grad, "--create-graph": create_graph}, expr or node, "--expr or --node"
    )
    _refuse_alone({"--at": at, "--const": const}, expr, "--expr")
    _refuse_alone({"--orders": orders}, expr if create_graph else None, "--expr … --create-graph")
    if expr is not None:
        _expression(
            expr,
            at or (),
            const or (),
            grad,
            (orders or 2) if create_graph else None,
            seed or 0,
            as_json=as_json,
        )
        return
    view = dumps.View(
        dumps.parse_formats(formats), module, fold, depth, dumps.parse_direction(direction)
    )
    if gradcheck and batch is None and indices is None:
        batch = GRADCHECK_BATCH
    request = Request(
        target=checkpoint,
        runs=runs,
        data_dir=data_dir,
        model=model,
        dataset=dataset,
        split=split,
        batch=batch,
        indices=indices,
        seed=seed,
        training=training,
        device=device,
        precision=precision,
        deterministic=deterministic,
    )
    quiet = quiet or as_json
    if compare is not None:
        _compare(compare, request, tolerance, as_json=as_json)
        return
    subject = _open(request, quiet=quiet)
    if step:
        _step(subject)
        return
    if node is not None:
        _node(subject, node, grad, create_graph=create_graph, as_json=as_json)
        return
    if gradcheck:
        _gradcheck(subject, samples, as_json=as_json)
        return
    made = dumps.make_dump(subject, replay=replay)
    if against is not None:
        _against(made, against, request, tolerance, as_json=as_json)
    elif path is not None:
        _path(made, path, as_json=as_json)
    elif as_json:
        _write(made, subject, view, out, quiet=True)
        _require_exact(made)
        _print_document(made)
    else:
        _show(made, view, quiet=quiet)
        _write(made, subject, view, out, quiet=quiet)
        _require_exact(made)


def _refuse_together(flags: Mapping[str, object]) -> None:
    """Questions of which one is asked at a time."""
    given = [name for name, value in flags.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", "Ask one at a time.")


def _refuse_beside(questions: Mapping[str, object], others: Mapping[str, object]) -> None:
    """Flags that have no meaning for a question."""
    for name, value in questions.items():
        for other, given in others.items():
            _refuse_together({name: value, other: given})


def _refuse_alone(flags: Mapping[str, object], needed: object, wanted: str) -> None:
    """Flags that mean nothing without another."""
    for name, value in flags.items():
        if value not in (None, False) and needed is None:
            raise UsageError(f"{name} means nothing alone", f"It goes with {wanted}.")


def _expression(
    formula: str,
    at: Sequence[str],
    const: Sequence[str],
    grad: str | None,
    orders: int | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    from mnist_cli.commands.inspect.experiments import expression_document, run_expression
    from mnist_cli.report.calls import experiment_lines
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_lines

    experiment = run_expression(formula, at, const, grad, orders, seed)
    if as_json:
        print_json(expression_document(experiment))
    else:
        print_lines(list(experiment_lines(experiment)))


def _node(
    subject: Subject, wanted: str, grad: str | None, *, create_graph: bool, as_json: bool
) -> None:
    from mnist_cli.commands.inspect.experiments import CalledNode
    from mnist_cli.report.calls import call_lines, node_lines
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_lines

    called = CalledNode(subject, wanted, grad, create_graph=create_graph)
    if as_json:
        print_json(called.document())
        return
    lines = list(node_lines(called.node, called.walk.graph))
    if called.grads:
        lines += call_lines(called.node.name, called.grads, called.results)
    print_lines(lines)


def _gradcheck(subject: Subject, samples: int, *, as_json: bool) -> None:
    from mnist_cli.commands.inspect.numeric import check_gradients, document, require_close
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_checks

    checks = check_gradients(subject, samples)
    if not as_json:
        print_checks(checks)
    require_close(checks)
    if as_json:
        print_json(document(checks))


def _open(request: Request, *, quiet: bool) -> Subject:
    from mnist_cli.commands.inspect.subject import open_subject
    from mnist_cli.report.console import note, warn

    subject = open_subject(request)
    for text in subject.notes:
        warn(text)
    if not quiet:
        note(subject.describe())
    return subject


def _compare(names: tuple[str, str], request: Request, tolerance: float, *, as_json: bool) -> None:
    from mnist_cli.commands.inspect.comparing import graph_of

    graphs = graph_of(names[0], request), graph_of(names[1], request)
    _report_comparison(graphs, names, tolerance, as_json=as_json)


def _against(
    made: Dump, against: str, request: Request, tolerance: float, *, as_json: bool
) -> None:
    from mnist_cli.commands.inspect.comparing import other_side

    context = made.graph.context
    own = f"{context['precision']} on {context['device']}, {context['mode']} mode"
    graphs = made.graph, other_side(against, request)
    _report_comparison(graphs, (own, against), tolerance, as_json=as_json)


def _report_comparison(
    graphs: tuple[GradGraph, GradGraph],
    names: tuple[str, str],
    tolerance: float,
    *,
    as_json: bool,
) -> None:
    from mnist_cli.autograd.comparing import compare
    from mnist_cli.commands.inspect.comparing import document, setting_differences
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_comparison

    comparison = compare(*graphs, tolerance=tolerance)
    differences = setting_differences(*graphs)
    if as_json:
        print_json(document(comparison, names, differences))
    else:
        print_comparison(comparison, names, differences)


def _path(made: Dump, parameter: str, *, as_json: bool) -> None:
    from mnist_cli.autograd.query import path_to
    from mnist_cli.commands.inspect.dump import path_document
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_path

    path = path_to(made.graph, parameter)
    if as_json:
        print_json(path_document(path))
    else:
        print_path(path)


def _step(subject: Subject) -> None:
    from mnist_cli.autograd import replay_steps, trace_modules, walk
    from mnist_cli.commands.inspect.stepping import step_through

    with trace_modules(subject.model) as modules:
        loss = subject.loss()
    walked = walk(loss, names=subject.model, modules=modules, saved=False)
    step_through(walked.graph, list(replay_steps(walked)))


def _require_exact(made: Dump) -> None:
    """Fail where a replay was made and differs; with --json before any document is printed."""
    from mnist_cli.autograd import require_exact

    if made.graph.replay is not None:
        require_exact(made.graph.replay)


def _print_document(made: Dump) -> None:
    import sys

    from mnist_cli.autograd import dumps

    sys.stdout.write(dumps(made.graph))


def _show(made: Dump, view: View, *, quiet: bool) -> None:
    from mnist_cli.autograd.diagnosing import parameter_table
    from mnist_cli.report.gradients import (
        print_diagnoses,
        print_lines,
        print_parameters,
        print_tree,
        print_verdict,
    )

    if "text" in view.formats and not quiet:
        print_tree(view.of(made.graph))
        print_parameters(parameter_table(view.part(made.graph)))
        print_diagnoses(view.findings(made), renumbered=not view.whole(made.graph))
        print_lines([""])
    if made.graph.replay is not None:
        print_verdict(made.graph.replay)


def _write(made: Dump, subject: Subject, view: View, out: Path | None, *, quiet: bool) -> None:
    from mnist_cli.commands.inspect.dump import folder_for, write_dump
    from mnist_cli.report.console import note

    written = write_dump(made, view, folder_for(subject, out), text=out is not None)
    if not quiet:
        for path in written:
            note(f"wrote {path}")
