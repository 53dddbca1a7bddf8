"""``mnist doctor --prove``: what it runs on, its claims, and the document of their rows."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mnist_cli import catalogue
from mnist_cli.base.version import __version__
from mnist_cli.data import store
from mnist_cli.data.load import load
from mnist_cli.devices.device import describe, resolve_device
from mnist_cli.errors import DependencyError
from mnist_cli.gpu.nvidia import module_version
from mnist_cli.proving import (
    arithmetic,
    memory_and_speed,
    preset_gradients,
    programs,
    training_steps,
)
from mnist_cli.proving.claims import Claims, Row, Subject

Notify = Callable[[str], None]


def choose_subject(
    device: str, data_dir: Path, folder: Path, worker: str, *, note: Notify, warn: Notify
) -> Subject:
    """The device and the data to prove on: MNIST if its files are there, else the bundled digits.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, …
        data_dir: the folder of the data sets.
        folder: an empty folder for runs and dumps.
        worker: the module that trains recipes, each in a separate process.
        note: receives a message if MNIST is not there.
        warn: receives a message if a part of MNIST is missing.

    Raises:
        DeviceError: the device is not available.
        DependencyError: there is neither MNIST nor the package with the digits.
    """
    chosen = resolve_device(device)
    located = store.locate(catalogue.get("mnist"), data_dir)
    if located.missing:
        notify = note if len(located.missing) == len(located.spec.files) else warn
        names = ", ".join(file.name for file in located.missing)
        notify(
            f"using the bundled digits: MNIST is not complete under {data_dir} ({names} missing)"
        )
    try:
        data = load("digits" if located.missing else "mnist", data_dir)
    except DependencyError as error:
        error.hint += f", or provide MNIST's files under {data_dir}"
        raise
    return Subject(chosen, data, data_dir, folder, worker)


def all_claims(subject: Subject) -> Claims:
    """Every claim about a device, with its check; nothing is checked yet."""
    return {
        **arithmetic.claims(subject),
        **preset_gradients.claims(subject),
        **training_steps.claims(subject),
        **programs.claims(subject),
        **memory_and_speed.claims(subject),
    }


def facts(subject: Subject) -> dict[str, Any]:
    """The hardware and the versions that the rows depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": str(subject.device),
        "device_name": describe(subject.device),
        "dataset": subject.dataset,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        **_gpu_facts(subject.device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "mnist_cli": __version__,
    }


def _gpu_facts(device: torch.device) -> dict[str, Any]:
    """The GPU's memory in bytes and its driver's version; None on other devices."""
    if device.type != "cuda":
        return {"device_memory": None, "driver": None}
    memory = torch.cuda.get_device_properties(device).total_memory
    return {"device_memory": memory, "driver": module_version() or None}


def document(facts: dict[str, Any], rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """Facts, verdict and rows as plain values; ``seconds`` is the time of all checks."""
    return {
        **facts,
        "proven": all(row.passed is not False for row in rows),
        "seconds": seconds,
        "rows": [asdict(row) for row in rows],
    }
