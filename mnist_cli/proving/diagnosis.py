"""What this machine has, and whether its GPU is usable: the facts that ``mnist doctor`` prints."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch

from mnist_cli import catalogue
from mnist_cli.base import cores
from mnist_cli.base.files import check_writable
from mnist_cli.base.packages import CORE, OPTIONAL
from mnist_cli.base.version import __version__
from mnist_cli.data import store
from mnist_cli.devices.device import cpu_features, cpu_name, resolve_precision
from mnist_cli.errors import OutputError, first_line
from mnist_cli.gpu import nvidia, probe
from mnist_cli.gpu.obstacle import GpuObstacle

KERNEL_RAN = "ok: a matrix product equals the CPU's"


@dataclass(frozen=True)
class Gpu:
    """One CUDA device; memory in bytes; ``kernel`` is the result of a matrix product on it."""

    index: int
    name: str
    capability: str
    memory: int
    free: int
    kernel: str = KERNEL_RAN

    @property
    def works(self) -> bool:
        """Whether the matrix product was correct."""
        return self.kernel == KERNEL_RAN


@dataclass(frozen=True)
class Verdict:
    """Whether a GPU can be used; if not, ``cause``, ``detail`` and ``next_step`` say why.

    They come from :class:`mnist_cli.gpu.obstacle.GpuObstacle`, and are empty if the GPU is ready.
    """

    ready: bool
    verdict: str
    cause: str = ""
    detail: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The facts about this machine that decide what it can run."""

    gpu: Verdict
    versions: dict[str, str]
    cpu: dict[str, str]
    devices: dict[str, str]
    gpus: tuple[Gpu, ...]
    cuda: dict[str, str]
    chosen: dict[str, str]
    data: dict[str, str]
    folders: dict[str, str]
    problems: tuple[str, ...] = field(default=())

    def usable(self, device: torch.device) -> bool:
        """Whether a device that is available has also passed its matrix product."""
        if device.type == "cuda":
            return self.gpus[device.index or 0].works
        return self.devices[device.type] == "yes"


def diagnose(data_dir: Path, runs: Path, device: torch.device | None = None) -> Diagnosis:
    """Examine GPUs, versions, CPU, data and folders.

    Writes and removes a probe file in each folder, and runs a matrix product on each GPU.
    :func:`mnist_cli.gpu.probe.cuda_obstacle` says why deterministic training must not follow in
    this process.

    Args:
        data_dir: the folder of the data sets.
        runs: the folder of the runs.
        device: the verdict is about this device; None asks whether any GPU is ready.
    """
    driver = nvidia.read_driver()
    gpus, obstacles = _gpus(driver)
    mps = probe.mps_obstacle(product=True)
    cuda = obstacles.get(0)
    named = None  # the obstacle of the GPU that the caller asks about
    if device is not None and device.type != "cpu":
        named = mps if device.type == "mps" else obstacles.get(device.index or 0)
    folders = {str(folder): _writable(folder) for folder in (runs, data_dir)}
    problems = [f"{folder}: {state}" for folder, state in folders.items() if "cannot" in state]
    threads = cores.excess_threads(torch.get_num_threads())
    automatic = _auto(gpus, mps)
    return Diagnosis(
        gpu=_refusal(named) if named else _verdict(gpus, cuda, mps),
        versions=_versions(),
        cpu=_cpu(),
        devices={"cpu": "yes", "cuda": _state(cuda), "mps": _state(mps)},
        gpus=gpus,
        cuda=_cuda(driver),
        chosen={
            "device auto": str(automatic),
            "precision auto": resolve_precision("auto", automatic).name,
        },
        data={name: _data_state(name, data_dir) for name in catalogue.names()},
        folders=folders,
        problems=(*problems, threads) if threads else tuple(problems),
    )


def _gpus(driver: nvidia.Driver) -> tuple[tuple[Gpu, ...], dict[int, GpuObstacle]]:
    """The GPUs that torch sees, and obstacles by index; CUDA's as a whole has index 0."""
    count = probe.cuda_count()
    if not count:
        whole = probe.cuda_obstacle(driver=driver)
        return (), {0: whole} if whole else {}
    found, obstacles = [], {}
    for index in range(count):
        obstacle = probe.cuda_obstacle(index, product=True, driver=driver)
        if obstacle is not None:
            obstacles[index] = obstacle
        found.append(_gpu(index, obstacle))
    return tuple(found), obstacles


def _gpu(index: int, obstacle: GpuObstacle | None) -> Gpu:
    kernel = KERNEL_RAN if obstacle is None else f"failed: {obstacle.detail}"
    try:
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        # After a failure CUDA may refuse every further call, or hang in it.
        free, total = torch.cuda.mem_get_info(index) if obstacle is None else (0, 0)
    except (RuntimeError, AssertionError) as error:
        return Gpu(index, "unknown", "unknown", 0, 0, f"failed: {first_line(error)}")
    return Gpu(index, properties.name, capability, total or properties.total_memory, free, kernel)


def _auto(gpus: tuple[Gpu, ...], mps: GpuObstacle | None) -> torch.device:
    """The device that ``auto`` selects, without a second kernel on a GPU that may hang."""
    index = probe.current_index() if gpus else 0
    if gpus:
        return torch.device("cuda", index) if gpus[index].works else torch.device("cpu")
    return torch.device("cpu" if mps else "mps")


def _verdict(gpus: tuple[Gpu, ...], cuda: GpuObstacle | None, mps: GpuObstacle | None) -> Verdict:
    working = [gpu for gpu in gpus if gpu.works]
    if working:
        names = ", ".join(f"cuda:{gpu.index} {gpu.name}" for gpu in working)
        of = "" if len(working) == len(gpus) else f", {len(working)} of {len(gpus)} GPUs"
        return Verdict(True, f"GPU: ready ({names}{of})")
    if mps is None:
        return Verdict(True, "GPU: ready (mps)")
    obstacle = mps if platform.system() == "Darwin" or cuda is None else cuda
    return _refusal(obstacle)


def _refusal(obstacle: GpuObstacle) -> Verdict:
    return Verdict(
        False,
        f"GPU: not usable, because {obstacle.detail}",
        str(obstacle.cause),
        obstacle.detail,
        obstacle.next_step,
    )


def _state(obstacle: GpuObstacle | None) -> str:
    return "yes" if obstacle is None else f"no: {obstacle.detail}"


def _cuda(driver: nvidia.Driver) -> dict[str, str]:
    build = probe.build()
    loaded = driver.version or ("not loaded" if sys.platform == "linux" else "not found")
    facts = {
        "NVIDIA driver": loaded,
        "supports CUDA up to": driver.cuda or "unknown",
        "torch is built for": f"CUDA {build.cuda}" if build.cuda else "no CUDA",
        "torch has kernels for": " ".join(build.archs) or "no GPU",
    }
    if build.hip:
        facts["torch is built for"] = f"ROCm {build.hip}"
    if driver.complaint:
        facts["nvidia-smi"] = driver.complaint
    return facts


def _versions() -> dict[str, str]:
    found = {"mnist_cli": __version__, "Python": sys.version.split()[0]}
    for package in (*CORE, *OPTIONAL.values()):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["CUDA of torch"] = torch.version.cuda or "none"
    return found


def _cpu() -> dict[str, str]:
    limit, memory = cores.cpu_limit(), cores.memory_limit()
    return {
        "name": cpu_name(),
        "system": platform.platform(),
        "cores": str(os.cpu_count() or 1),
        "cores for this process": str(cores.cores()),
        "CPU limit (cgroup)": "none" if limit is None else f"{limit:.1f} cores",
        "torch threads": str(torch.get_num_threads()),
        "torch capability": torch.backends.cpu.get_cpu_capability(),
        "features": ", ".join(sorted(cpu_features())) or "unknown",
        "memory": cores.memory_in_words(),
        "memory limit (cgroup)": "none" if memory is None else f"{memory / 2**30:.1f} GiB",
    }


def _data_state(name: str, data_dir: Path) -> str:
    spec = catalogue.get(name)
    if spec.bundled:
        there = importlib.util.find_spec("sklearn") is not None
        return "comes with scikit-learn" + ("" if there else ", which is not installed")
    try:
        located = store.locate(spec, data_dir)
    except OSError as error:
        return f"{data_dir} cannot be read: {error.strerror}"
    if located.missing:
        return f"not under {data_dir} (mnist data fetch {name})"
    problem = store.glance(located)
    if problem:
        return f"not under {data_dir}: {problem}"
    first = next(iter(located.found.values()))[0]
    return str(first.parent)


def _writable(folder: Path) -> str:
    """Whether the folder, or else its nearest existing parent, can be written."""
    there = folder if folder.exists() else next(p for p in folder.absolute().parents if p.exists())
    try:
        check_writable(there)
    except OutputError as error:
        return f"cannot be written: {error.message.rpartition(': ')[2]}"
    free = shutil.disk_usage(there).free
    state = "writable" if folder.exists() else "can be made"
    return f"{state}, {free / 2**30:.1f} GiB free"
