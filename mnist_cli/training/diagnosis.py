"""What this machine has, and why a device cannot be used: the facts that ``mnist doctor`` prints."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch

from mnist_cli import __version__
from mnist_cli.data import catalogue, store
from mnist_cli.errors import DeviceError, OutputError
from mnist_cli.files import check_writable
from mnist_cli.training.device import (
    cpu_features,
    cpu_name,
    resolve_device,
    resolve_precision,
)

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "typer",
    "rich",
    "pydantic",
    "scikit-learn",
    "matplotlib",
    "networkx",
    "tensorboard",
    "onnx",
    "onnxruntime",
    "safetensors",
)


@dataclass(frozen=True)
class Gpu:
    """One CUDA device; memory in bytes."""

    index: int
    name: str
    capability: str
    memory: int
    free: int


@dataclass(frozen=True)
class Diagnosis:
    """Everything about this machine that decides what can be done on it."""

    versions: dict[str, str]
    cpu: dict[str, str]
    devices: dict[str, str]
    gpus: tuple[Gpu, ...]
    chosen: dict[str, str]
    data: dict[str, str]
    folders: dict[str, str]
    problems: tuple[str, ...] = field(default=())


def diagnose(data_dir: Path, runs: Path) -> Diagnosis:
    """Look at versions, CPU, devices, data and folders; writes nothing but a probe file."""
    folders = {str(runs): _writable(runs), str(data_dir): _writable(data_dir)}
    devices = {name: _device_state(name) for name in ("cpu", "cuda", "mps")}
    device = resolve_device("auto")
    return Diagnosis(
        versions=_versions(),
        cpu=_cpu(),
        devices=devices,
        gpus=_gpus(),
        chosen={
            "device auto": str(device),
            "precision auto": resolve_precision("auto", device).name,
        },
        data={spec.name: _data_state(spec.name, data_dir) for spec in catalogue.all_specs()},
        folders=folders,
        problems=tuple(
            f"{folder}: {state}" for folder, state in folders.items() if "cannot" in state
        ),
    )


def _versions() -> dict[str, str]:
    found = {"mnist_cli": __version__, "Python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["CUDA of torch"] = torch.version.cuda or "none"
    return found


def _cpu() -> dict[str, str]:
    return {
        "name": cpu_name(),
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "torch capability": torch.backends.cpu.get_cpu_capability(),
        "features": ", ".join(sorted(cpu_features())) or "unknown",
        "memory": _memory(),
    }


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _device_state(name: str) -> str:
    try:
        resolve_device(name)
    except DeviceError as error:
        return f"no: {error.message.partition(': ')[2]}"
    return "yes"


def _gpus() -> tuple[Gpu, ...]:
    if not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = f"{properties.major}.{properties.minor}"
        found.append(Gpu(index, properties.name, capability, total, free))
    return tuple(found)


def _data_state(name: str, data_dir: Path) -> str:
    spec = catalogue.get(name)
    if spec.bundled:
        return "comes with scikit-learn"
    located = store.locate(spec, data_dir)
    if located.missing:
        return f"not under {data_dir} (mnist data fetch {name})"
    # Three sets have files of the same names: only the checksums tell whose they are.
    if any(report.problem for report in store.verify(spec, data_dir)):
        return f"not under {data_dir}, though files of its names are (mnist data verify {name})"
    first = next(iter(located.found.values()))[0]
    return str(first.parent)


def _writable(folder: Path) -> str:
    """Whether the folder, or the nearest one above it that exists, can be written."""
    there = folder if folder.exists() else next(p for p in folder.absolute().parents if p.exists())
    try:
        check_writable(there)
    except OutputError as error:
        return f"cannot be written: {error.message.rpartition(': ')[2]}"
    free = shutil.disk_usage(there).free
    state = "writable" if folder.exists() else "can be made"
    return f"{state}, {free / 2**30:.1f} GiB free"
