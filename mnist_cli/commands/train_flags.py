"""The options of ``mnist train`` that no other command has. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli.commands import options
from mnist_cli.config import choices

RECIPE, STOPPING = "Recipe", "Stopping and saving"

EpochsFlag = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        "-e",
        metavar="N",
        help="Passes over the training set.",
        rich_help_panel=RECIPE,
    ),
]
BatchSizeFlag = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="Images per optimisation step.",
        rich_help_panel=RECIPE,
    ),
]
LrFlag = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="RATE",
        help="Highest learning rate of the schedule.",
        rich_help_panel=RECIPE,
    ),
]
OptimizerFlag = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="|".join(choices.OPTIMIZERS),
        rich_help_panel=RECIPE,
        help="Optimiser.",
    ),
]
ScheduleFlag = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="|".join(choices.SCHEDULES),
        rich_help_panel=RECIPE,
        help="Schedule of the learning rate.",
    ),
]
EnsembleFlag = Annotated[
    int | None,
    typer.Option(
        "--ensemble",
        metavar="N",
        rich_help_panel=RECIPE,
        help="Train N networks at once, from different weights, which vote.",
    ),
]
LoaderFlag = Annotated[
    str | None,
    typer.Option(
        "--loader",
        metavar="|".join(choices.LOADERS),
        rich_help_panel=options.DATA,
        help="device: the data set stays on the device; dataloader: torch's DataLoader, image by image.",
    ),
]
WorkersFlag = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Worker processes of --loader dataloader.",
        rich_help_panel=options.DATA,
    ),
]
CompileFlag = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the network with torch.compile.",
        rich_help_panel=options.COMPUTE,
    ),
]
CudaGraphFlag = Annotated[
    bool | None,
    typer.Option(
        "--cuda-graph/--no-cuda-graph",
        help="CUDA: capture steps in a graph and replay it. Default: wherever possible.",
        rich_help_panel=options.COMPUTE,
    ),
]
NprocFlag = Annotated[
    int,
    typer.Option(
        "--nproc",
        metavar="N",
        min=1,
        max=1024,
        rich_help_panel=options.COMPUTE,
        help="Processes on this machine that share each batch: one per GPU, or with the CPU's "
        "cores divided. For several machines, use torchrun … -m mnist_cli train.",
    ),
]
RankTimeoutFlag = Annotated[
    float,
    typer.Option(
        "--rank-timeout",
        metavar="SECONDS",
        min=1,
        rich_help_panel=options.COMPUTE,
        help="Seconds that processes wait for one that does not answer.",
    ),
]
DeterministicFlag = Annotated[
    bool | None,
    typer.Option(
        "--deterministic/--no-deterministic",
        rich_help_panel=options.COMPUTE,
        help="CUDA: the same bits in each run, slower. A CPU always repeats its bits.",
    ),
]
EarlyStoppingFlag = Annotated[
    int | None,
    typer.Option(
        "--early-stopping",
        metavar="N",
        rich_help_panel=STOPPING,
        help="Stop after N epochs without a better validation accuracy.",
    ),
]
TargetAccuracyFlag = Annotated[
    float | None,
    typer.Option(
        "--target-accuracy",
        metavar="FRACTION",
        rich_help_panel=STOPPING,
        help="Stop when the validation accuracy reaches this, for example 0.99.",
    ),
]
CheckpointEveryFlag = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every",
        metavar="N",
        rich_help_panel=STOPPING,
        help="Batches between checkpoints, in addition to one per epoch.",
    ),
]
ResumeFlag = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="RUN|FILE",
        rich_help_panel=STOPPING,
        help="Continue a run where it stopped, to the same bits.",
    ),
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        rich_help_panel=STOPPING,
        help="Run one batch through everything and keep nothing.",
    ),
]
VerifyResumeFlag = Annotated[
    bool,
    typer.Option(
        "--verify-resume",
        rich_help_panel=STOPPING,
        help="Prove by hashes that a run stopped at a random batch and resumed ends with the bits "
        "of an uninterrupted one; exit 6 if not. Two short epochs; nothing is kept.",
    ),
]
TensorboardFlag = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        rich_help_panel=options.OUTPUT,
        help="Write TensorBoard events into the run directory.",
    ),
]
DumpGradFlag = Annotated[
    str | None,
    typer.Option(
        "--dump-grad",
        metavar="EPOCHS",
        rich_help_panel=options.OUTPUT,
        help="Epochs after which to dump one batch's gradients into the run, such as 1,5,last.",
    ),
]
