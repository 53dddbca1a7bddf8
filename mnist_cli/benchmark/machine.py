"""The machine of a benchmark, which must be named beside its results."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from mnist_cli.base.cores import cores


def machine(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Date, hardware and versions, with the workers' own details."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": _each(details, "device_name"),
        "cores": cores(),
        "threads": _each(details, "threads"),
        "precision": _each(details, "precision"),
        "dataset": _each(details, "dataset"),
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _each(details: Sequence[Mapping[str, Any]], key: str) -> str:
    """The values of all runs, each once: recipes may run on different devices."""
    return " and ".join(dict.fromkeys(str(one[key]) for one in details))
