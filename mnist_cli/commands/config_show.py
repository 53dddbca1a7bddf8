"""``mnist config``: the presets, and a recipe with the meaning of each key."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli import options
from mnist_cli.api import recipe_layers
from mnist_cli.config.choices import preset_names
from mnist_cli.errors import UsageError
from mnist_cli.options import completing

if TYPE_CHECKING:
    from mnist_cli.config.sources import Layer

app = typer.Typer(
    help="Recipes: list the presets, show one with the meaning of each key.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|RUN",
        help=f"Preset ({', '.join(preset_names())}), TOML file, or run.",
        autocompletion=completing.complete(preset_names()),
    ),
]


@app.command()
def show(
    recipe: RecipeArgument = "default",
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
) -> None:
    """Print a recipe as TOML: every key, with its meaning and the value that applies.

    --config reads the text back: write it to a file and change it.
    """
    try:
        print_config(recipe, [], runs, as_json=as_json)
    except UsageError as error:  # a recipe is not an option here
        raise UsageError(error.message.removeprefix("--config "), error.hint) from error


@app.command(name="list")
def list_presets(as_json: options.JsonOption = False) -> None:
    """List the presets that --config takes, and what each is for."""
    from mnist_cli.config.explained import preset_title
    from mnist_cli.report.console import print_json, stdout

    titles = {name: preset_title(name) for name in preset_names()}
    if as_json:
        print_json(titles)
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, title in titles.items():
        table.add_row(name, title)
    stdout().print(table)


def print_config(config: str | None, typed: Sequence[Layer], runs: Path, *, as_json: bool) -> None:
    """Print what a recipe and the options say, as TOML or JSON.

    ``config`` is a preset, a file or a run; None is the default recipe.

    Raises:
        UsageError: a key or a value that is not allowed.
    """
    from mnist_cli.config.explained import explained, preset_title, settings
    from mnist_cli.report.console import note, print_json

    recipe = recipe_layers.recipe_layer(config, runs)
    composed = recipe_layers.compose_on(recipe, typed)
    if as_json:
        print_json(settings(composed))
        return
    layers = [*([recipe] if recipe else []), *typed]
    origin = {key: _source(layer, key) for layer in layers for key in layer.values}
    title = preset_title(config) if not typed and config in preset_names() else ""
    sys.stdout.write(explained(composed, origin if typed else {}, title))
    if composed.model.is_own:
        note(f"--config reads this back together with --model {composed.model}")


def _source(layer: Layer, key: str) -> str:
    """What set a key: its flag, ``--set``, or ``--config``."""
    return layer.origin[key].split()[0] if layer.typed else "--config"
