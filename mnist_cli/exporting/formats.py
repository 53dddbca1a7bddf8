"""The formats that a network can be exported in, and what each needs. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.exporting.classifier import Answer, Classifier


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what ``--format`` calls it.
        title: what messages call it.
        suffix: how its files' names end.
        module: the module of this package that writes and reads it.
        packages: what must be installed for it besides torch.
        program: whether it holds the whole computation, rather than the weights alone.
    """

    name: str
    title: str
    suffix: str
    module: str
    packages: tuple[str, ...] = ()
    program: bool = True


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


def choose(name: str | None, out: Path | None) -> Format:
    """The format that ``--format`` names, or else the file's suffix; ONNX where neither says.

    Raises:
        UsageError: there is no such format or suffix, or the two contradict each other.
    """
    by_suffix = {known.suffix: known for known in FORMATS.values()}
    implied = by_suffix.get(out.suffix.lower()) if out is not None else None
    if name is None:
        if out is not None and implied is None:
            raise UsageError(
                f"--out {out}: the name does not say which format is wanted",
                f"End it with {', '.join(by_suffix)}, or give --format {'|'.join(FORMATS)}.",
            )
        return implied or FORMATS["onnx"]
    if name not in FORMATS:
        raise UsageError(f"--format {name}: no such format", f"Choose one of {', '.join(FORMATS)}.")
    if implied is not None and implied.name != name:
        raise UsageError(
            f"--format {name} and --out {out} contradict each other",
            f"Leave one out, or end the name with {FORMATS[name].suffix}.",
        )
    return FORMATS[name]


def check_installed(chosen: Format) -> None:
    """Find out before anything is computed whether the format's packages are there.

    Raises:
        UsageError: some are missing; the hint has the line that installs them.
    """
    missing = [name for name in chosen.packages if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{chosen.title} files need {' and '.join(missing)}, which {verb} not installed",
            f"Install with: pip install {' '.join(missing)} (all formats': mnist-cli[export])",
        )


class Writer(Protocol):
    """What the module of a format holds."""

    def encode(self, classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
        """The classifier as a file's bytes."""

    def load(self, encoded: bytes, classifier: Classifier) -> Answer:
        """What a file's bytes compute; ``classifier`` lends its structure to weights alone."""


def writer(chosen: Format) -> Writer:
    """The module that writes and reads the format, imported now."""
    return cast(Writer, importlib.import_module(f"{__package__}.{chosen.module}"))
