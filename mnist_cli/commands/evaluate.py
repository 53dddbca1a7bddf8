"""``mnist eval``: evaluate a checkpoint on a split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_cli import options
from mnist_cli.base.files import check_writable
from mnist_cli.base.packages import require
from mnist_cli.commands import browser, early
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.options import contradictions
from mnist_cli.options.contradictions import Needs

if TYPE_CHECKING:
    from mnist_cli.data.split import Split
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
    options.out("DIR", "Write confusion.png and mistakes.png to this folder."),
]


RULES = (Needs(("open_plots", "dark"), ("plots",), "Add --out DIR, which writes the pictures."),)


@options.with_figures
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

    Reads this program's checkpoints and run directories, and other programs' files. Their network
    is recognised by its weights, under any key and prefix, and computed in fp32.
    """
    contradictions.refuse(context, RULES)
    early.check_choices(device, model, precision)
    early.check_checkpoint(checkpoint, runs)
    early.check_choices(dataset=dataset)
    from mnist_cli.api.evaluating import evaluated
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.report import evaluation as report
    from mnist_cli.report import lessons
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
    found = evaluated(opened, split, images, _as_flag, batch_size=batch_size, option="--batch-size")
    if misfit := found.origin["misfit"]:
        warn(misfit["message"])
    if plots is not None:
        from mnist_cli.report.plot_pictures import save_evaluation

        save_evaluation(opened, images, found.figures, plots)
        if not quiet:
            note(f"wrote {plots / 'confusion.png'} and {plots / 'mistakes.png'}")
        if open_plots:
            browser.show([plots / "confusion.png", plots / "mistakes.png"])
    if as_json:
        print_json(found.to_plain())
    else:
        config = opened.checkpoint.config
        report.print_evaluation(
            found.figures,
            found.classes,
            found.files,
            tables=not quiet,
            smoothing=config.label_smoothing if config else 0.0,
        )
        if not quiet:
            lessons.point_to("eval")


def _as_flag(key: str, value: str) -> str:
    return f"--{'model' if key == 'network' else key} {value}"


def _describe(opened: OpenCheckpoint, images: Split) -> str:
    members = opened.checkpoint.members
    network = opened.label if members == 1 else f"an ensemble of {members} {opened.label} networks"
    origin = " (another program's weights)" if opened.checkpoint.foreign else ""
    return (
        f"{opened.path}: {network}{origin}, on the {len(images):,} {images.name} images of "
        f"{opened.data.spec.title}"
    )
