"""Two backward passes side by side: dumps read back, and how their settings differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnist_cli.autograd.comparing import GraphComparison
from mnist_cli.autograd.document import plain
from mnist_cli.autograd.graph import GradGraph

SETTING = (
    *("model", "mode", "precision", "device", "dataset", "normalisation"),
    *("split", "batch", "seed", "epoch"),
)
"""Keys of a dump's context that say what was computed, in the order of the report."""

OPTIONAL = ("epoch", "normalisation")
"""Keys that a dump may lack; they are compared where both have them."""


def setting_differences(first: GradGraph, second: GradGraph) -> tuple[str, ...]:
    """How the settings differ, in words: another precision, epoch, or other images."""
    pairs = [(key, first.context.get(key), second.context.get(key)) for key in SETTING]
    return tuple(
        f"{key}: {_setting(key, ours)} and {_setting(key, theirs)}"
        for key, ours, theirs in pairs
        if ours != theirs and not (key in OPTIONAL and None in (ours, theirs))
    )


def _setting(key: str, value: Any) -> str:
    if key == "normalisation" and isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if key != "batch" or not isinstance(value, (list, tuple)):
        return "none" if value is None else str(value)
    shown = ", ".join(map(str, value[:4]))
    count = "1 image" if len(value) == 1 else f"{len(value)} images"
    return f"{count} ({shown}{', …' if len(value) > 4 else ''})"


def document(
    comparison: GraphComparison, names: tuple[str, str], differences: Sequence[str]
) -> dict[str, Any]:
    """The comparison as plain values; what cannot be a JSON number is a string."""
    return {
        "first": names[0],
        "second": names[1],
        "setting": list(differences),
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        "first_difference": plain(comparison.first),
        "first_activation": plain(comparison.activation),
        "structure": list(comparison.structure),
        "parameters": plain(comparison.parameters),
        "nodes": plain(comparison.nodes),
    }
