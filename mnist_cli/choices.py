"""The words that configuration values and flags choose from, and the presets' names.

Apart from :mod:`mnist_cli.config`, so that ``--help``, ``--version`` and shell completion need
not build the validated configuration: that alone took 0.1 of their 0.3 seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Optimizer = Literal["sgd", "adam", "adamw", "adadelta", "muon"]
Schedule = Literal["constant", "step", "cosine", "onecycle"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Loader = Literal["device", "dataloader"]

OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
SCHEDULES: tuple[str, ...] = get_args(Schedule)
PRECISIONS: tuple[str, ...] = get_args(Precision)
LOADERS: tuple[str, ...] = get_args(Loader)

MODELS = ("notebook", "example", "conv2", "oriented", "conv4", "conv4-wide")
"""Names of the registered networks; :mod:`mnist_cli.models` holds the modules themselves."""


def presets_dir() -> Path:
    """The folder of the presets: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def preset_names() -> list[str]:
    """The names that ``--config`` knows, sorted."""
    return sorted(path.stem for path in presets_dir().glob("*.toml"))
