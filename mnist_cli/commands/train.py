"""``mnist train``: options in, one run, report out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mnist_cli import choices
from mnist_cli.commands import options
from mnist_cli.commands.epoch_dumps import EpochDumps
from mnist_cli.errors import UsageError

RECIPE, STOPPING = "Recipe", "Stopping and saving"


def train(
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    model: options.ModelOption = None,
    seed: options.SeedOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            "-e",
            metavar="N",
            help="Passes over the training set.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-b", metavar="N", help="Images a step.", rich_help_panel=RECIPE
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            metavar="RATE",
            help="Highest learning rate of the schedule.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            metavar="|".join(choices.OPTIMIZERS),
            rich_help_panel=RECIPE,
            help="How weights are updated.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="|".join(choices.SCHEDULES),
            rich_help_panel=RECIPE,
            help="How the learning rate goes over the run.",
        ),
    ] = None,
    loader: Annotated[
        str | None,
        typer.Option(
            "--loader",
            metavar="|".join(choices.LOADERS),
            rich_help_panel=options.DATA,
            help="device: the whole set lives there; dataloader: torch's, image by image.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes of --loader dataloader.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="CPU threads; 0 is torch's choice.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    compile_: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="torch.compile the network.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            rich_help_panel=options.COMPUTE,
            help="CUDA: the same bits each time, slower. A CPU always does so.",
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            "--early-stopping",
            metavar="N",
            rich_help_panel=STOPPING,
            help="Stop after N epochs without a better validation accuracy.",
        ),
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            "--target-accuracy",
            metavar="FRACTION",
            rich_help_panel=STOPPING,
            help="Stop once the validation accuracy reaches this, as 0.99.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            metavar="N",
            rich_help_panel=STOPPING,
            help="Batches between checkpoints, besides one each epoch.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN|FILE",
            rich_help_panel=STOPPING,
            help="Go on with a run where it stopped, to the same bits.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            rich_help_panel=STOPPING,
            help="One batch through everything; nothing is kept.",
        ),
    ] = False,
    runs: options.RunsOption = options.RUNS,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            rich_help_panel=options.OUTPUT,
            help="Write TensorBoard events into the run.",
        ),
    ] = False,
    dump_grad: Annotated[
        str | None,
        typer.Option(
            "--dump-grad",
            metavar="EPOCHS",
            rich_help_panel=options.OUTPUT,
            help="After these epochs, as 1,5,last, dump one batch's gradients into the run.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a network, and end with its accuracy on the test set.

    Without options: our default recipe on MNIST, on the best device there is. Settings come from
    flags, then --set, then --config, then the defaults. The validation set, cut from the training
    set, chooses best.pt; the test set is read once, at the end.
    """
    given = {**locals(), "compile": compile_}
    from mnist_cli import config as configs

    flags: dict[str, Any] = {key: value for key, value in given.items() if key in configs.KEYS}
    if dry_run and resume is not None:
        raise UsageError("--dry-run and --resume contradict each other", "Give one of them.")
    if resume is not None and config is not None:
        raise UsageError(
            "--config and --resume contradict each other",
            "A resumed run keeps its own configuration; leave --config out.",
        )
    dumps = EpochDumps.parse(dump_grad)
    if resume is None:
        settings = options.compose_config(config, assignments, flags)
    from mnist_cli.commands import training_run

    say = training_run.Speaker(silent=as_json or quiet)
    request = training_run.RunRequest(data_dir, runs, say, tensorboard, dry_run, (dumps,))
    if resume is None:
        summary = training_run.train_anew(settings, request)
    else:
        layers = [configs.from_assignments(assignments or ()), configs.from_flags(flags)]
        summary = training_run.resume(resume, layers, request)
    from mnist_cli.report.console import print_json, print_summary

    if as_json:
        gone = {"run": None, "checkpoint": None} if dry_run else {}
        print_json(summary.to_plain() | gone)
    else:
        print_summary(summary, kept=not dry_run)
    if dry_run:
        say.note("dry run: one batch went through everything; nothing was kept")
