"""The configuration that a command or a call means: defaults, a recipe, and what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.api.places import RUNS
from mnist_cli.base.files import from_home, is_folder, is_there
from mnist_cli.config import choices
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.config.sources import Layer

FLAG = "--config"


def typed_layers(assignments: Sequence[str] | None, flags: Mapping[str, Any]) -> list[Layer]:
    """What was typed for this run: ``--set``, then flags.

    Raises:
        UsageError: a ``--set`` that is not of the form key=value.
    """
    from mnist_cli.config import schema as configs

    return [configs.from_assignments(assignments or ()), configs.from_flags(flags)]


def compose_config(
    config: str | None, assignments: Sequence[str] | None, flags: Mapping[str, Any]
) -> TrainConfig:
    """Defaults, then ``--config``, then ``--set``, then flags; see :func:`compose_typed`."""
    return compose_typed(config, typed_layers(assignments, flags))


def compose_typed(config: str | None, typed: Sequence[Layer], runs: Path = RUNS) -> TrainConfig:
    """Defaults, then ``--config``, then what was typed; see :func:`compose_on`."""
    return compose_on(recipe_layer(config, runs), typed)


def recipe_layer(config: str | None, runs: Path = RUNS, place: str = FLAG) -> Layer | None:
    """The layer that a recipe means: a preset, a TOML file, or a run under ``runs``.

    ``place`` is how the user gives the recipe, for messages.

    Raises:
        UsageError: it is none of them, or its file is not a configuration.
        CheckpointError: several runs have that number.
    """
    from mnist_cli.config import schema as configs
    from mnist_cli.runs.listing import read_run

    if config is None:
        return None
    found = recipe_run(config, runs, place)
    try:
        if found:
            return configs.from_file(found / "config.toml", environment=read_run(found).environment)
        return configs.from_file(configs.find_config(config, place))
    except UsageError as error:
        if config.isdecimal():
            from mnist_cli.runs.directory import known_runs

            error.hint = f"{error.hint} {known_runs(runs)}".lstrip()
        raise


def recipe_run(config: str | None, runs: Path = RUNS, place: str = FLAG) -> Path | None:
    """The run that a recipe means; None for a preset or a file, which come first.

    Raises:
        UsageError: a run without a configuration, or another folder.
        CheckpointError: several runs have that number.
    """
    from mnist_cli.runs.directory import RunDirectory, find_run, known_runs

    if not config or config in choices.preset_names():
        return None
    folder = None
    try:
        folder = find_run(Path(from_home(config)), runs)
        if folder is not None and not is_there(RunDirectory(folder).config):
            raise UsageError(
                f"{place} {config}: {folder} is not a run: it has no config.toml",
                f"Name a preset, a TOML file or a run. {known_runs(runs)}",
            )
        checkpoint = config.endswith(".pt") and is_folder(Path(config).parent)
    except OSError:  # reading it names the cause
        return folder
    if folder is None and checkpoint and is_there(Path(config).with_name("config.toml")):
        raise UsageError(
            f"{place} {config}: a checkpoint, not a configuration",
            f"Name its run: {place} {Path(config).parent}",
        )
    return folder


def recipe_name(config: str | None, runs: Path) -> str:
    """The name of a recipe in a run's records: a preset or a file, or what the run itself records."""
    from mnist_cli.runs.listing import read_run

    folder = recipe_run(config, runs)
    return read_run(folder).recipe if folder else Path(config or "").stem


def compose_on(
    recipe: Layer | None, typed: Sequence[Layer], naming: str = "--model {}"
) -> TrainConfig:
    """Defaults, then the recipe, then what was typed.

    ``naming`` is how the user names a network, for messages.

    Raises:
        UsageError: see :func:`mnist_cli.config.schema.compose`; or a recipe, which may be a stranger's,
            names a network's source, which only a flag or ``--set`` may do.
    """
    from mnist_cli.config import schema as configs

    if recipe is None:
        return configs.compose(typed)
    composed = configs.compose([recipe, *typed])
    if composed.model.is_own and not any("model" in layer.values for layer in typed):
        raise UsageError(
            f"{recipe.origin['model']}: the recipe names a Python file to run, {composed.model}",
            f"If you trust that file, name it yourself: {naming.format(composed.model)}",
        )
    return composed
