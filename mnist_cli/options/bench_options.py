"""The options of ``mnist bench`` that no other command has. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli import options
from mnist_cli.benchmark import FACTORS
from mnist_cli.config import choices
from mnist_cli.config.names import ModelName
from mnist_cli.options import completing

WHAT = "What to measure"

RECIPES = ("fast:5", "onecycle:5", "example:1")
INFERENCE_RECIPES = ("fast:5", "default:5")
SCALING_RECIPES = ("fast:1",)
RUNS, SCALING_RUNS = 5, 1
TARGET = 0.99


def default_recipes(inference: bool, scaling: bool) -> tuple[str, ...]:
    """The recipes that run if none is named."""
    return SCALING_RECIPES if scaling else INFERENCE_RECIPES if inference else RECIPES


RecipesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE[:RUNS]",
        help=f"Presets or TOML files, each with an optional number of runs ({RUNS}; {SCALING_RUNS} "
        f"with --scaling). Default: {' '.join(RECIPES)} (--inference: "
        f"{' '.join(INFERENCE_RECIPES)}; --scaling: {' '.join(SCALING_RECIPES)}).",
        autocompletion=completing.complete(choices.preset_names()),
        show_default=False,
    ),
]
TargetOption = Annotated[
    float,
    typer.Option(
        "--target",
        metavar="FRACTION",
        min=0.0,
        max=1.0,
        help="Test accuracy to reach; a run ends at the first epoch that reaches it. 0 trains all "
        "epochs. The result then names the Pareto-optimal recipes in seconds and accuracy, and "
        "--out draws the Pareto front.",
        rich_help_panel=WHAT,
    ),
]
InferenceFlag = Annotated[
    bool,
    typer.Option(
        "--inference",
        help="Measure evaluation instead: images per second of each recipe's network, by batch size.",
        rich_help_panel=WHAT,
    ),
]
ScalingFlag = Annotated[
    bool,
    typer.Option(
        "--scaling",
        help="Measure instead how one recipe's seconds and memory grow with images, batch size, "
        "network width and threads.",
        rich_help_panel=WHAT,
    ),
]
FactorsOption = Annotated[
    str | None,
    typer.Option(
        "--factors",
        metavar="A,B,…",
        help=f"Comma-separated factors of --scaling. Default: {','.join(FACTORS)}.",
        rich_help_panel=WHAT,
    ),
]
ModelOption = Annotated[ModelName | None, options.of_key("model", "the recipe's", options.NETWORK)]
DatasetOption = Annotated[str | None, options.of_key("dataset", "the recipe's", options.DATA_SET)]
OutOption = Annotated[
    Path | None,
    options.out("FILE", "Draw the result to this file; the suffix chooses the format."),
]
