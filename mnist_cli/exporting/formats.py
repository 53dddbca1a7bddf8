"""The formats that a network can be exported in, and what each needs. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mnist_cli.base.packages import installing
from mnist_cli.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as the user types it.
        title: as messages call it.
        suffix: of its files.
        module: the module of this package that writes and reads it.
        packages: packages it needs besides torch.
        program: whether it holds the whole computation rather than only the weights.
    """

    name: str
    title: str
    suffix: str
    module: str
    packages: tuple[str, ...] = ()
    program: bool = True


@dataclass(frozen=True)
class Input:
    """The images that an exported program takes: (N, 1, 28, 28), grey levels from 0 to 255.

    Attributes:
        dtype: of the grey levels, one of :data:`DTYPES`.
        batch: N; None is any number.
    """

    dtype: str = "uint8"
    batch: int | None = None


DTYPES = ("uint8", "float32")
"""Grey levels as image files hold them, and as OpenCV's ``blobFromImage`` passes them on."""

FORMATS: Mapping[str, Format] = {
    known.name: known
    for known in (
        Format("onnx", "ONNX", ".onnx", "onnx_model", ("onnx", "onnxscript", "onnxruntime")),
        Format("torch", "torch.export", ".pt2", "program"),
        Format(
            "safetensors", "safetensors", ".safetensors", "weights", ("safetensors",), program=False
        ),
    )
}


def by_suffix(path: Path) -> Format | None:
    """The format of files whose names end like ``path``; None if the suffix is of no format."""
    suffix = path.suffix.lower()
    return next((known for known in FORMATS.values() if known.suffix == suffix), None)


def check_installed(chosen: Format) -> None:
    """Find out before anything is computed whether the format's packages are installed.

    Raises:
        UsageError: some are not; the hint has the command that installs them.
    """
    missing = [name for name in chosen.packages if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{chosen.title} files need {' and '.join(missing)}, which {verb} not installed",
            f"Install with: {installing(*missing)}",
        )


def writer(chosen: Format) -> ModuleType:
    """The module with the format's ``encode`` and ``load``, imported now."""
    return importlib.import_module(f"{__package__}.{chosen.module}")
