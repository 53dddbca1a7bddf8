"""Options that several commands share, each defined once, and what they are turned into.

Imports neither torch nor the configuration: it is read for every ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli import catalogue
from mnist_cli.config import choices
from mnist_cli.config.names import is_own_network
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig

COMPUTE, DATA, OUTPUT = "Compute", "Data", "Output"


def complete(words: Sequence[str]) -> Any:
    """Shell completion among fixed words."""

    def matching(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return matching


def _complete_config(incomplete: str) -> list[str]:
    return [name for name in choices.preset_names() if name.startswith(incomplete)]


def _complete_set(incomplete: str) -> list[str]:
    from mnist_cli.config import schema as configs

    return [f"{key}=" for key in configs.KEYS if key.startswith(incomplete)]


DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Device to compute on. Only auto may choose; a named device is used, or the command fails.",
        autocompletion=complete(choices.DEVICES),
        rich_help_panel=COMPUTE,
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="|".join(choices.PRECISIONS),
        help="Precision. auto is bf16 if the hardware computes in it, else fp32.",
        autocompletion=complete(choices.PRECISIONS),
        rich_help_panel=COMPUTE,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE.py:CLASS",
        help=f"Network: {choices.known_models()}.",
        autocompletion=complete(choices.MODELS),
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME|PATH",
        help=f"auto, {', '.join(catalogue.names())}; or your own: a folder that holds one folder "
        "of images per class, or IDX files. auto is MNIST; it falls back to scikit-learn's digits "
        "if MNIST is neither on disk nor downloadable.",
        autocompletion=complete(["auto", *catalogue.names()]),
        rich_help_panel=DATA,
    ),
]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="MNIST_DATA_DIR",
        metavar="DIR",
        help="Folder of the data sets: a torchvision root, or one with the IDX files.",
        rich_help_panel=DATA,
    ),
]
RunsOption = Annotated[
    Path,
    typer.Option(
        "--runs", metavar="DIR", help="Folder of the run directories.", rich_help_panel=OUTPUT
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="CPU threads; 0 is torch's choice.",
        rich_help_panel=COMPUTE,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of every random choice."),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        help=f"A preset ({', '.join(choices.preset_names())}) or a TOML file.",
        autocompletion=_complete_config,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Set any key of the configuration; repeatable.",
        autocompletion=_complete_set,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout, and everything else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the result only.", rich_help_panel=OUTPUT),
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an expected failure.", rich_help_panel=OUTPUT
    ),
]
CheckpointArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A checkpoint, a run directory or a run's number. Default: the newest run under "
        "--runs.",
        show_default=False,
    ),
]


def given(command: Callable[..., None], values: Mapping[str, object]) -> dict[str, object]:
    """The options that were given to a command: those whose values are not the defaults."""
    defaults = {name: of.default for name, of in signature(command).parameters.items()}
    return {name: value for name, value in values.items() if value != defaults[name]}


DATA_DIR = Path("data")
RUNS = Path("runs")


def compose_config(
    config: str | None, assignments: Sequence[str] | None, flags: dict[str, Any]
) -> TrainConfig:
    """Defaults, then ``--config``, then ``--set``, then flags.

    Raises:
        UsageError: see :func:`mnist_cli.config.schema.compose`; or a recipe, which may be a stranger's,
            names a network's source, which only a flag or ``--set`` may do.
    """
    from mnist_cli.config import schema as configs

    typed = [configs.from_assignments(assignments or ()), configs.from_flags(flags)]
    if config is None:
        return configs.compose(typed)
    recipe = configs.from_file(configs.find_config(config))
    composed = configs.compose([recipe, *typed])
    if is_own_network(composed.model) and not any("model" in layer.values for layer in typed):
        raise UsageError(
            f"{recipe.origin['model']}: a recipe names a program to be run, {composed.model}",
            f"If you trust that file, name it yourself: --model {composed.model}",
        )
    return composed


def parse_indices(text: str) -> list[int]:
    """The numbers that ``--indices 3,14,15`` names.

    Raises:
        UsageError: something that is no number.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--indices {text}: not numbers with commas between them", "As in --indices 3,14,15."
        ) from error


def check_values(**flags: object) -> None:
    """Refuse what the configuration does not allow for keys of the same names; None is not given.

    Raises:
        UsageError: names the flag, the value and what is allowed.
    """
    compose_config(None, None, flags)
