"""Compares documents bit by bit, without the program's own functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

SECONDS = ("seconds", "images_per_second")
"""Keys of measured times, which no resumed run repeats."""


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """A nested document as one table of leaves by path."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return {path: value}
    leaves: dict[str, Any] = {path: f"{type(value).__name__} of {len(value)}"}
    for key, inner in pairs:
        leaves |= flat(inner, f"{path}/{key}")
    return leaves


def differences(one: Any, other: Any, ignore: tuple[str, ...] = ()) -> list[str]:
    """Paths at which two documents differ in any bit, except for those that end in ``ignore``."""
    a, b = flat(one), flat(other)
    paths = [path for path in {**a, **b} if not path.endswith(ignore or ("\0",))]
    return [
        path for path in paths if path not in a or path not in b or not _equal(a[path], b[path])
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and one.numpy().tobytes() == other.numpy().tobytes()
    return type(one) is type(other) and one == other


def rows(run: Path, kind: str = "epoch") -> list[dict[str, Any]]:
    """The rows of a kind in a run's ``metrics.jsonl``; a row without a kind is an epoch's."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [row for row in found if row.get("kind", "epoch") == kind]
