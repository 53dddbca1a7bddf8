"""The sources of a configuration: flags, ``--set``, TOML files, presets.

Validates nothing: :func:`mnist_cli.config.schema.compose` does. Paths become absolute here, since only
the source knows which folder they are relative to.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cli.base.files import from_home, is_folder, is_there
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.choices import plain_model, preset_names, presets_dir, width_of
from mnist_cli.config.keys import KEYS, flag, words
from mnist_cli.config.names import ModelName, absolute_checkpoint, absolute_dataset
from mnist_cli.errors import UsageError


def _absolute_model(model: object, folder: Path) -> object:
    return plain_model(ModelName(model).absolute(folder)) if isinstance(model, str) else model


def _lower(value: object, _folder: Path) -> object:
    return value.lower() if isinstance(value, str) else value


PLACES: Mapping[str, Callable[[object, Path], object]] = {
    "model": _absolute_model,
    "dataset": absolute_dataset,
    "start": absolute_checkpoint,
    "device": _lower,
    **{name: _lower for name in KEYS if words(name)},
}
"""By key, the function that makes a path absolute, or a word lower case."""


@dataclass(frozen=True)
class Layer:
    """Values from one source, and how to name that source for each key."""

    values: Mapping[str, Any]
    origin: Mapping[str, str]
    typed: bool = False
    """Whether it was typed for this run (flags, ``--set``): none of its values is dropped silently."""


def from_flags(flags: Mapping[str, Any]) -> Layer:
    """A layer of flags; those that are None were not given."""
    given = {key: value for key, value in flags.items() if value is not None}
    origin = {key: flag(key) for key in given}
    return Layer(placed(given, Path()), origin, typed=True)


def from_assignments(assignments: Iterable[str]) -> Layer:
    """A layer of ``key=value`` texts, with values as in TOML (quotes are optional).

    Raises:
        UsageError: a text without ``=``.
    """
    values: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--set {text}: not of the form key=value", "`mnist config show` lists the keys."
            )
        values[key.strip().replace("-", "_")] = value.strip().strip("\"'")
    origin = {key: f"--set {key}={value}" for key, value in values.items()}
    return Layer(placed(values, Path()), origin, typed=True)


def as_computed(values: Mapping[str, Any], environment: object) -> dict[str, Any]:
    """A recorded configuration with the value of ``halves`` that computes what the run computed.

    Older programs do not record in a run's ``environment`` whether it computed halves. They did so
    only with conv2 and oriented; elsewhere ``halves = true`` had no effect.
    """
    asked = values.get("halves", False)
    if isinstance(environment, Mapping) and "halves" in environment:
        return {"halves": "auto" if environment["halves"] is True else False, **values}
    if not isinstance(asked, bool):
        return dict(values)
    network = width_of(str(values.get("model", "")))
    divided = asked and network is not None and network[0] in ("conv2", "oriented")
    return {**values, "halves": "auto" if divided else False}


MAX_BYTES = 1 << 20
"""The largest configuration file."""


_FORM = "A recipe has one key = value per line, such as epochs = 3; `mnist config show` prints one."


def from_file(path: Path, *, environment: Mapping[str, Any] | None = None) -> Layer:
    """A layer from a TOML file; ``environment`` is that of the run that wrote it, if one did.

    Raises:
        UsageError: the file cannot be read, is not TOML, or holds tables.
    """
    try:
        with path.open("rb") as file:  # a pipe will do; /dev/zero has no end
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(
                f"{path} is not a configuration: it has more than {MAX_BYTES:,} bytes", _FORM
            )
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8").replace("\r\n", "\n")
        values = tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {path}: {error.strerror}",
            "Name a preset, or a TOML file that you may read.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not TOML: it is not UTF-8 text",
            "Save it as UTF-8; in Windows PowerShell, with `| Out-File -Encoding utf8` in place of "
            "`>`.",
        ) from error
    except (ValueError, RecursionError) as error:
        # Besides TOMLDecodeError, tomllib passes on errors of int() and of its recursion.
        fault = str(error).replace("Cannot overwrite a value", _repeated(text))
        raise UsageError(f"{path} is not TOML: {fault}", _FORM) from error
    for key, value in values.items():
        if isinstance(value, dict | list):
            raise UsageError(
                f"{path}, line {_line_of(key, text)}: '{key}' is a table or list",
                "A configuration is flat: one key = value per line.",
            )
    origin = {key: f"{path}, line {_line_of(key, text)}" for key in values}
    values = placed(values, path.parent)
    return Layer(values if environment is None else as_computed(values, environment), origin)


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values, with paths made absolute as seen from ``folder``, and words in lower case."""
    return {
        key: PLACES[key](value, folder) if key in PLACES else value for key, value in values.items()
    }


def _repeated(text: str) -> str:
    """Which key is set more than once; tomllib's message names none."""
    keys = Counter(re.findall(r"""(?m)^\s*["']?([\w-]+)["']?\s*=""", text))
    return "".join(f"'{key}' is set more than once" for key, _ in keys.most_common(1))


def _line_of(key: str, text: str) -> int:
    pattern = re.compile(rf"^\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((i for i, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def find_config(name: str, place: str = "--config") -> Path:
    """The file that a preset's name means, or else a path; ``place`` is where it was given.

    Raises:
        UsageError: neither a preset nor a file.
    """
    if name in preset_names():
        return presets_dir() / f"{name}.toml"
    try:
        path = Path(from_home(name))
        if is_there(path) and not is_folder(path):
            return path
        if name.lower() in preset_names():
            return presets_dir() / f"{name.lower()}.toml"
    except OSError as error:  # a folder that may not be read
        raise UsageError(
            f"{place} {name}: cannot be read: {error.strerror}",
            "Name a preset, or a TOML file that you may read.",
        ) from error
    raise UsageError(
        f"{place} {name}: no preset of that name and no such file",
        f"{did_you_mean(Path(name).stem, preset_names())} Presets: {', '.join(preset_names())}.",
    )
