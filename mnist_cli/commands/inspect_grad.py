"""``mnist inspect-grad``: the backward graph of one batch, shown, asked and proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli.commands import options
from mnist_cli.commands.inspect.dump import DEFAULT_FORMATS

if TYPE_CHECKING:
    from mnist_cli.commands.inspect.dump import Dump
    from mnist_cli.commands.inspect.subject import Subject

BATCH, SHOWN = "The batch", "What is shown"


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
    from mnist_cli.commands.inspect.subject import Request, open_subject
    from mnist_cli.report.console import note, warn

    wanted = dumps.parse_formats(formats)
    subject = open_subject(
        Request(
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
    )
    for text in subject.notes:
        warn(text)
    if not (quiet or as_json):
        note(subject.describe())
    made = dumps.make_dump(subject, replay=replay)
    _show(made, wanted, as_json=as_json, quiet=quiet)
    _write(made, subject, wanted, out, quiet=quiet or as_json)
    if made.graph.replay is not None:
        from mnist_cli.autograd import require_exact

        require_exact(made.graph.replay)


def _show(made: Dump, formats: tuple[str, ...], *, as_json: bool, quiet: bool) -> None:
    from mnist_cli.report.gradients import print_tree, print_verdict

    if as_json:
        import sys

        from mnist_cli.autograd import dumps

        sys.stdout.write(dumps(made.graph))
        return
    if "text" in formats and not quiet:
        print_tree(made.graph)
    if made.graph.replay is not None:
        print_verdict(made.graph.replay)


def _write(
    made: Dump, subject: Subject, formats: tuple[str, ...], out: Path | None, *, quiet: bool
) -> None:
    from mnist_cli.commands.inspect.dump import folder_for, write_dump
    from mnist_cli.report.console import note

    order = made.replay.order if made.replay is not None else None
    folder = folder_for(subject, out)
    written = write_dump(made.graph, made.graph, folder, formats, order, text=out is not None)
    if not quiet:
        for path in written:
            note(f"wrote {path}")
