"""The arguments of ``mnist.train`` as layers of a configuration. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnist_cli.api.checkpoint_given import network_name
from mnist_cli.api.run_folder import RunFolder, network_of, target_of
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.keys import KEYS
from mnist_cli.config.sources import Layer, placed
from mnist_cli.errors import UsageError


def settings_layer(settings: Mapping[str, Any], arguments: tuple[str, ...]) -> Layer:
    """The layer of keyword arguments; None keeps the recipe's value.

    ``arguments`` are the other arguments of the call, for a hint.

    Raises:
        UsageError: a key that does not exist, or a value of no plain type.
    """
    for key in settings:
        if key not in KEYS:
            guess = did_you_mean(key, [*KEYS, *arguments])
            raise UsageError(
                f"'{key}' is neither an argument of train nor a key of the configuration",
                guess or f"The keys are {', '.join(KEYS)}.",
            )
    values = {key: _plain(key, one) for key, one in settings.items() if one is not None}
    return Layer(placed(values, Path()), {key: key for key in values}, typed=True)


def _plain(key: str, value: Any) -> Any:
    """A value as a configuration file could hold it."""
    if key == "model":
        return network_name(value)
    if key == "device":
        return str(value)  # as torch's own functions, also a torch.device
    if key == "start":
        return str(target_of(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # numpy's and torch's numbers
        return value.item()
    return value


def recipe_text(recipe: object) -> str:
    """A recipe as the commands take it: a preset, a file, or a run.

    Raises:
        UsageError: it is of another type.
    """
    if isinstance(recipe, (RunFolder, int)) and not isinstance(recipe, bool):
        return str(target_of(recipe))
    if isinstance(recipe, (str, os.PathLike)) and str(recipe):
        return os.fspath(recipe)
    raise UsageError(
        f"{recipe!r:.60} is not a recipe",
        "Give a preset such as 'fast', a TOML file, or a run; single keys by name, as in lr=0.03.",
    )


def named_network(*given: object) -> dict[str, Any]:
    """The caller's own network of the runs among some arguments, as a setting."""
    found = [network for one in given if (network := network_of(one)) is not None]
    return {"model": found[0]} if found else {}
