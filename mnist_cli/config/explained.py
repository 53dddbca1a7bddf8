"""A configuration as TOML in which every key says what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import tomlkit

from mnist_cli.config.choices import presets_dir
from mnist_cli.config.keys import KEYS
from mnist_cli.config.schema import CHOOSERS, TrainConfig

WIDTH = 78
"""Columns of a comment."""


def explained(config: TrainConfig, origin: Mapping[str, str], title: str = "") -> str:
    """The configuration as TOML that ``--config`` reads back, a comment above each key.

    The optimiser's and the schedule's own defaults are written out. Keys that another optimiser
    or schedule takes are not there.

    Args:
        config: what to write.
        origin: by key, what set it, such as ``--lr``; a short text without line ends.
        title: sentences to begin with.
    """
    parts = [_comment(title)] if title else []
    for name, key in KEYS.items():
        if line := _assignment(name, config, origin):
            parts.append(f"{_comment(key.help)}\n{line}")
    return "\n\n".join(parts) + "\n"


def settings(config: TrainConfig) -> dict[str, Any]:
    """Every key that has a value, with the optimiser's and the schedule's own defaults."""
    values = {name: config.setting(name) for name in KEYS}
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def preset_title(name: str) -> str:
    """What a preset is for: the first paragraph of its file.

    Raises:
        OSError: the file cannot be read.
    """
    text = (presets_dir() / f"{name}.toml").read_text(encoding="utf-8")
    head = takewhile(lambda line: line.startswith("# "), text.splitlines())
    return " ".join(line.lstrip("# ") for line in head)


def _assignment(name: str, config: TrainConfig, origin: Mapping[str, str]) -> str:
    """The line that sets a key; a comment if nothing does; empty if it has no effect."""
    value = settings(config).get(name)
    if value is None:
        foreign = any(name in keys for table in CHOOSERS.values() for keys in table.values())
        return "" if foreign else f"# {name} is not set"
    line = f"{name} = {tomlkit.item(value).as_string()}"
    return f"{line}  # {origin[name]}" if name in origin else line


def _comment(text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
