"""``mnist eval``: evaluate a checkpoint on a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_cli.base.packages import require
from mnist_cli.commands import browser, contradictions, early, options
from mnist_cli.commands.contradictions import Needs
from mnist_cli.commands.opening import note_foreign, open_checkpoint, unfinished

if TYPE_CHECKING:
    from mnist_cli.data.split import Split
    from mnist_cli.inference.misfit import Misfit
    from mnist_cli.inference.opened import OpenCheckpoint

SplitFlag = Annotated[
    Literal["test", "val", "train"],
    typer.Option(
        "--split",
        metavar="test|val|train",
        case_sensitive=False,
        help="Split to evaluate.",
        rich_help_panel=options.DATA,
    ),
]
BatchSizeFlag = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        min=1,
        max=2**31 - 1,
        help="Images per batch. Default: the run's eval_batch_size, which is 250 unless it was set.",
        rich_help_panel=options.COMPUTE,
    ),
]
PlotsFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        rich_help_panel=options.OUTPUT,
        help="Write confusion.png and mistakes.png to this folder.",
    ),
]


RULES = (Needs(("open_plots",), ("plots",), "Add --out DIR, which writes pictures to show."),)


def evaluate(
    context: typer.Context,
    checkpoint: options.CheckpointArgument = None,
    split: SplitFlag = "test",
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    normalise: options.NormaliseOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    batch_size: BatchSizeFlag = None,
    plots: PlotsFlag = None,
    open_plots: browser.OpenFlag = False,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Evaluate a checkpoint: loss, accuracy, metrics per class, confusion matrix, mistakes.

    Reads this program's checkpoints and run directories, and other programs' files: the network
    is recognised by its weights, under any key and prefix, and computed in fp32.
    """
    contradictions.refuse(context, RULES)
    early.check_choices(device, model, precision)
    early.check_checkpoint(checkpoint, runs)
    early.check_choices(dataset=dataset)
    from mnist_cli.base.files import check_writable
    from mnist_cli.inference.misfit import find_misfit
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.report import evaluation as report
    from mnist_cli.report.console import note, print_json, warn

    if plots is not None:
        require("matplotlib", "--out")
        check_writable(plots)
    source = DataSource(data_dir, dataset, notify=note)
    opened = open_checkpoint(
        *(checkpoint, runs),
        model=model,
        device=device,
        precision=precision,
        source=source,
        quiet=quiet,
        normalise=normalise,
    )
    images = opened.split(split)
    for text in opened.warnings:
        warn(text)
    if not as_json and not quiet:
        note(_describe(opened, images))
        note_foreign(opened)
    evaluation = opened.evaluate(images, batch_size=batch_size, option="--batch-size")
    misfit = find_misfit(opened, evaluation.score.accuracy, batch_size=batch_size)
    if misfit is not None:
        warn(_advice(opened, misfit))
    if plots is not None:
        from mnist_cli.report.plot_pictures import save_evaluation

        save_evaluation(opened, images, evaluation, plots)
        if not quiet:
            note(f"wrote {plots / 'confusion.png'} and {plots / 'mistakes.png'}")
        if open_plots:
            browser.show([plots / "confusion.png", plots / "mistakes.png"])
    files = opened.files(split)
    if as_json:
        origin = {
            "checkpoint": str(opened.path),
            "model": opened.checkpoint.model,
            "dataset": opened.data.spec.name,
            "split": split,
            "notes": [*opened.checkpoint.notes, *unfinished(opened.path)],
            "normalisation": opened.scale.to_plain(),
            "precision": opened.precision.name,
            "misfit": misfit and misfit.to_plain() | {"message": _advice(opened, misfit)},
        }
        print_json(origin | report.evaluation_document(evaluation, files))
    else:
        report.print_evaluation(evaluation, opened.classes, files, tables=not quiet)


def _advice(opened: OpenCheckpoint, misfit: Misfit) -> str:
    """What the user should know, with the words to type if an option helps."""
    now = f"{misfit.accuracy:.1%} of {misfit.images:,} training images are right"
    title = opened.data.spec.title
    if misfit.kind == "other data":
        other = "fashion-mnist" if opened.data.spec.name != "fashion-mnist" else "mnist"
        return (
            f"{opened.path}: {now}: the weights seem to be for another data set than {title}, "
            f"or untrained; name their data set, such as --dataset {other}"
        )
    better = f"{misfit.better:.1%}"
    if misfit.kind == "normalisation":
        asked = f"--normalise {misfit.normalise}"
        return f"{opened.path}: {now}, but {better} with {asked}: the network seems to expect it"
    seen = {
        "network": f"{better} with --model {misfit.network}: the weights seem to be of that network",
        "inverted": f"{better} if inverted: the network expects dark digits on light",
        "transposed": f"{better} if transposed: the network expects rows as columns",
        "labels": f"{better} in another order of the classes: {_order(opened, misfit.order)}",
    }[misfit.kind]
    also = f" (with --normalise {misfit.normalise})" if misfit.normalise else ""
    return f"{opened.path}: {now}, but {seen}{also}"


def _order(opened: OpenCheckpoint, order: Sequence[int]) -> str:
    """Which class each output stands for."""
    names = [opened.classes[one] for one in order]
    return f"outputs {', '.join(map(str, range(len(names))))} stand for {', '.join(names)}"


def _describe(opened: OpenCheckpoint, images: Split) -> str:
    members = opened.checkpoint.members
    network = opened.label if members == 1 else f"an ensemble of {members} {opened.label} networks"
    origin = " (another program's weights)" if opened.checkpoint.foreign else ""
    return (
        f"{opened.path}: {network}{origin}, on the {len(images):,} {images.name} images of "
        f"{opened.data.spec.title}"
    )
