"""``mnist inspect-grad``: the backward graph of one batch, shown, asked and proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli.commands import options
from mnist_cli.commands.inspect.dump import DEFAULT_FORMATS, MANY
from mnist_cli.commands.inspect.numeric import BATCH as GRADCHECK_BATCH
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.commands.inspect.dump import Dump, View
    from mnist_cli.commands.inspect.subject import Request, Subject

BATCH, SHOWN, COMPARED = "The batch", "What is shown", "Side by side"
EXPERIMENT = "One node, called by hand"


def inspect_grad(
    checkpoint: options.CheckpointArgument = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Call every node by hand in the engine's order and compare the bits; "
            "exit 6 if a parameter differs.",
        ),
    ] = False,
    step: Annotated[
        bool,
        typer.Option(
            "--step",
            help="Go through the replay node by node: what comes in, the call, what comes out, "
            "where it goes. With keys in a terminal, else as text.",
        ),
    ] = False,
    expr: Annotated[
        str | None,
        typer.Option(
            "--expr",
            metavar="FORMULA",
            help='Instead of a network: a formula, as "x * y" or "a @ b"; its node is described '
            "and called.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="NAME=VALUE",
            help="A number or JSON list for each name of --expr; many times.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(
            "--node",
            metavar="ID|NAME",
            help="Describe this node of the network in full, and call it.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None,
    grad: Annotated[
        str | None,
        typer.Option(
            "--grad",
            metavar="VALUE",
            help="What to call it with: ones, random, a number, a JSON list, or a file (.json, .pt).",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None,
    create_graph: Annotated[
        bool,
        typer.Option(
            "--create-graph",
            help="Keep grad mode on: the results have a grad_fn themselves; --expr goes on into it.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = False,
    orders: Annotated[
        int,
        typer.Option(
            "--orders",
            metavar="N",
            min=1,
            max=20,
            help="How many derivatives --create-graph goes through.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = 2,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="PARAMETER",
            help="Only the chain from the loss to this parameter, with the norm at each step.",
            rich_help_panel=SHOWN,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            "--module",
            metavar="PREFIX",
            help="Show this module's part of the graph only.",
            rich_help_panel=SHOWN,
        ),
    ] = None,
    fold: Annotated[
        bool | None,
        typer.Option(
            "--fold/--no-fold",
            help=f"Show each call of a module as one node; left out, above {MANY} nodes.",
            rich_help_panel=SHOWN,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            metavar="N",
            min=1,
            help="Fold modules below N levels.",
            rich_help_panel=SHOWN,
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Two dumps (.json), checkpoints or runs, node by node.",
            rich_help_panel=COMPARED,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="fp32|bf16|fp16|cpu|cuda|train|eval|FILE",
            help="The same batch under another precision, device or mode, or a dump.",
            rich_help_panel=COMPARED,
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="X",
            min=0.0,
            help="Relative difference that counts as none.",
            rich_help_panel=COMPARED,
        ),
    ] = 0.0,
    gradcheck: Annotated[
        bool,
        typer.Option(
            "--gradcheck",
            help="Hold sampled entries of each parameter's gradient against central differences "
            f"in float64, on {GRADCHECK_BATCH} images; exit 6 where they contradict.",
        ),
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", metavar="N", min=1, help="Entries of each parameter for --gradcheck."
        ),
    ] = 5,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="LIST",
            help="Of text, json, dot, mermaid, svg, html, with commas between.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = DEFAULT_FORMATS,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where files go; left out, grad/ in the run.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    model: options.ModelOption = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", metavar="N", help="So many images, by the seed.", rich_help_panel=BATCH
        ),
    ] = None,
    indices: Annotated[
        str | None,
        typer.Option(
            "--indices", metavar="I,J,…", help="These images, by number.", rich_help_panel=BATCH
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|test", rich_help_panel=BATCH)
    ] = "train",
    training: Annotated[
        bool,
        typer.Option(
            "--train/--eval",
            help="The network's mode: with dropout and the batch's own norms, or without.",
            rich_help_panel=BATCH,
        ),
    ] = True,
    seed: options.SeedOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
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

    _refuse_together(
        {
            "--step": step,
            "--path": path,
            "--compare": compare,
            "--against": against,
            "--expr": expr,
            "--node": node,
            "--gradcheck": gradcheck,
        }
    )
    _refuse_alone({"--grad": grad, "--create-graph": create_graph}, expr or node)
    _refuse_alone({"--at": at}, expr)
    if expr is not None:
        _expression(expr, at or (), grad, orders if create_graph else None, as_json=as_json)
        return
    view = dumps.View(dumps.parse_formats(formats), module, fold, depth)
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
    else:
        _show(made, view, as_json=as_json, quiet=quiet)
        _write(made, subject, view, out, quiet=quiet)
    if made.graph.replay is not None:
        from mnist_cli.autograd import require_exact

        require_exact(made.graph.replay)


def _refuse_together(flags: dict[str, object]) -> None:
    """Questions of which one is asked at a time."""
    given = [name for name, value in flags.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", "Ask one at a time.")


def _refuse_alone(flags: dict[str, object], needed: object) -> None:
    """Flags that mean nothing without --expr or --node."""
    for name, value in flags.items():
        if value not in (None, False) and needed is None:
            wanted = "--expr" if name == "--at" else "--expr or --node"
            raise UsageError(f"{name} means nothing alone", f"It goes with {wanted}.")


def _expression(
    formula: str, at: Sequence[str], grad: str | None, orders: int | None, *, as_json: bool
) -> None:
    from mnist_cli.commands.inspect.experiments import expression_document, run_expression
    from mnist_cli.report.calls import experiment_lines
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_lines

    experiment = run_expression(formula, at, grad, orders)
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
    from mnist_cli.commands.inspect.comparing import document
    from mnist_cli.report.console import print_json
    from mnist_cli.report.gradients import print_comparison

    comparison = compare(*graphs, tolerance=tolerance)
    if as_json:
        print_json(document(comparison, names))
    else:
        print_comparison(comparison, names)


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


def _show(made: Dump, view: View, *, as_json: bool, quiet: bool) -> None:
    from mnist_cli.autograd.diagnosing import parameter_table
    from mnist_cli.report.gradients import (
        print_diagnoses,
        print_parameters,
        print_tree,
        print_verdict,
    )

    if as_json:
        import sys

        from mnist_cli.autograd import dumps

        sys.stdout.write(dumps(made.graph))
        return
    if "text" in view.formats and not quiet:
        print_tree(view.of(made.graph))
        print_parameters(parameter_table(made.graph))
        print_diagnoses(made.findings)
    if made.graph.replay is not None:
        print_verdict(made.graph.replay)


def _write(made: Dump, subject: Subject, view: View, out: Path | None, *, quiet: bool) -> None:
    from mnist_cli.commands.inspect.dump import folder_for, write_dump
    from mnist_cli.report.console import note

    written = write_dump(made, view, folder_for(subject, out), text=out is not None)
    if not quiet:
        for path in written:
            note(f"wrote {path}")
