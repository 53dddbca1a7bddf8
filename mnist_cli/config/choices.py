"""The words that values of the configuration and flags choose from, and the names of the presets.

Imports no pydantic, so that ``--help``, ``--version`` and shell completion stay fast: building the
validated configuration alone took 0.1 of their 0.3 seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.names import EXAMPLE, ModelName
from mnist_cli.errors import DeviceError

Optimizer = Literal["sgd", "adam", "adamw", "adadelta", "muon"]
Schedule = Literal["constant", "step", "cosine", "onecycle"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Loader = Literal["device", "dataloader"]
DEVICES = ("auto", "cpu", "cuda", "mps")
DEVICE = r"auto|cpu|mps|cuda(:\d+)?"
"""Pattern of a device's name, such as ``cuda`` or ``cuda:1``."""

LOGGERS = ("tensorboard", "wandb", "mlflow")
"""Programs that a run can be logged with, by the names of their packages."""

PRECISIONS: tuple[str, ...] = get_args(Precision)

MODELS = (
    *("notebook", "example-2018", "example-2019", "example"),
    *("conv2", "oriented", "conv4", "conv4-wide"),
)
"""Names of the registered networks; :mod:`mnist_cli.networks.registry` holds the modules themselves."""

SCALABLE = ("conv2", "oriented", "conv4")
"""Networks that accept a width factor: ``conv2x0.5`` has half of each layer's channels."""

WIDTHS = (0.125, 8.0)
"""The smallest and the largest width factor: wider networks may exceed a checkpoint's limit of size."""

_SCALED = re.compile(rf"({'|'.join(SCALABLE)})x(\d{{1,2}}(?:\.\d{{1,4}})?)")


def width_of(model: str) -> tuple[str, float] | None:
    """The network and the factor of its widths that a name like ``conv4x1.5`` means.

    1 for the name of a registered network; None for an unknown name.
    """
    if model in MODELS:
        return model, 1.0
    match = _SCALED.fullmatch(model)
    if match is None or not WIDTHS[0] <= float(match[2]) <= WIDTHS[1]:
        return None
    return match[1], float(match[2])


def plain_model(name: ModelName) -> ModelName:
    """The name in lower case if that is a network's; a file of the user's own unchanged."""
    lower = name.lower()
    return name if name.is_own or width_of(lower) is None else ModelName(lower)


def known_models() -> str:
    """The names of networks, as a part of a sentence."""
    low, high = WIDTHS
    return (
        f"{', '.join(MODELS)}, or {', '.join(SCALABLE)} at {low:g} to {high:g} times "
        f"their width, such as {SCALABLE[0]}x0.5; or your own: {EXAMPLE}"
    )


def is_known_model(model: str) -> bool:
    """Whether a name means a network of this program, or may mean one of the user's own."""
    return width_of(model) is not None or ModelName(model).is_own


def unknown_model(model: str) -> tuple[str, str]:
    """The message and the hint for a name that is not a network's."""
    file = model.removesuffix(":")
    if file.endswith(".py"):
        return f"{file} names a file without a class", f"Name the class too: {file}:Net."
    file, colon, name = model.rpartition(":")
    if colon and file and name.isidentifier():
        return (
            f"'{model}' is not a Python file: its name must end in .py",
            f"Give its full name: {file}.py:{name}.",
        )
    guess = did_you_mean(model, MODELS)
    return f"unknown model '{model}'", f"{guess} Choose one of {known_models()}.".strip()


def presets_dir() -> Path:
    """The folder of the presets: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """The names that ``--config`` knows, sorted."""
    return sorted(path.stem for path in presets_dir().glob("*.toml"))


def check_device(name: str) -> None:
    """Refuse a word that names no device of any machine.

    Raises:
        DeviceError: it is none.
    """
    if not re.fullmatch(DEVICE, name):
        raise DeviceError(f"unknown device '{name}'", "Choose one of auto, cpu, cuda, cuda:N, mps.")


def check_precision(name: str) -> None:
    """Refuse a word that names no precision.

    Raises:
        DeviceError: it is none.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"unknown precision '{name}'", f"Choose one of {', '.join(PRECISIONS)}.")
