"""The options of ``mnist bench`` that no other command has. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli.commands import options

WHAT = "What to measure"

RecipesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE[:RUNS]]...",
        help="Presets or TOML files, each with how often to run it; left out, "
        "fast:5 onecycle:5 example:1 (--inference: fast:5 default:5, --scaling: fast:1).",
        show_default=False,
    ),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        "--target",
        metavar="FRACTION",
        min=0.0,
        max=1.0,
        help="Test accuracy to reach; a run ends at the first epoch that does. 0.99 if left out.",
        rich_help_panel=WHAT,
    ),
]
InferenceFlag = Annotated[
    bool,
    typer.Option(
        "--inference",
        help="Instead: images a second of evaluating each recipe's network, by batch size.",
        rich_help_panel=WHAT,
    ),
]
ScalingFlag = Annotated[
    bool,
    typer.Option(
        "--scaling",
        help="Instead: how one recipe's seconds and memory grow with images, batch size, "
        "network width and threads.",
        rich_help_panel=WHAT,
    ),
]
FactorsOption = Annotated[
    str | None,
    typer.Option(
        "--factors",
        metavar="A,B,…",
        help="Of --scaling only these: images, batch, width, threads.",
        rich_help_panel=WHAT,
    ),
]
PictureOption = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        metavar="FILE",
        help="Draw what was measured, in the format of the name's ending.",
        rich_help_panel=options.OUTPUT,
    ),
]
