"""The options of ``mnist train`` that no other command has. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli import options
from mnist_cli.config import keys
from mnist_cli.options import completing

PROCESSES = "Several processes"

NprocFlag = Annotated[
    int,
    typer.Option(
        "--nproc",
        metavar="N",
        min=1,
        max=1024,
        rich_help_panel=PROCESSES,
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
        rich_help_panel=PROCESSES,
        help="Seconds to wait for a process that does not answer.",
    ),
]
SeedsFlag = Annotated[
    int,
    typer.Option(
        "--seeds",
        metavar="N",
        min=1,
        max=10_000,
        rich_help_panel=keys.RECIPE,
        help="Train N runs that differ in the seed, from --seed on, and report the mean accuracy "
        "with its standard error. The same command continues them after an interruption.",
    ),
]
NameFlag = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        rich_help_panel=options.OUTPUT,
        help="Name of the run, for its folder. Default: the data set and the network.",
        show_default=False,
    ),
]
ResumeFlag = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="[RUN|FILE]",
        readable=False,
        rich_help_panel=keys.STOPPING,
        help="Continue a run where it stopped, bit for bit. Without a value: the newest "
        "unfinished run. A run that a limit has stopped counts as finished: name it, and raise the "
        "limit.",
        autocompletion=completing.complete_runs,
    ),
]
PrintConfigFlag = Annotated[
    bool,
    typer.Option(
        "--print-config",
        help="Print the configuration that would run, as TOML that --config reads; train nothing.",
    ),
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        rich_help_panel=keys.STOPPING,
        help="Run one batch through every stage and keep nothing.",
    ),
]
VerifyResumeFlag = Annotated[
    bool,
    typer.Option(
        "--verify-resume",
        rich_help_panel=keys.STOPPING,
        help="Stop a short run at a random batch, resume it, and compare its hashes with those of an "
        "uninterrupted run. Exit 6 if they differ. Nothing is kept.",
    ),
]
FindLrFlag = Annotated[
    bool,
    typer.Option(
        "--find-lr",
        rich_help_panel=keys.RECIPE,
        help="Try learning rates from 1e-6 to 10 in one short run, draw the losses "
        "(find-lr.png under --runs) and propose a rate. No run is kept.",
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
