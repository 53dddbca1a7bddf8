"""Asks torch for its GPUs, runs a kernel, and collects the evidence if one does not work.

Every function that calls CUDA catches what it raises: a probe reports, it does not fail.
"""

from __future__ import annotations

import os
import platform
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch

from mnist_cli.errors import first_line
from mnist_cli.gpu import nvidia
from mnist_cli.gpu.obstacle import Build, Cause, Evidence, GpuObstacle
from mnist_cli.gpu.words import describe, explain

PATIENCE = 60.0
"""Seconds for the first kernel of a GPU in :func:`check_product`: starting CUDA takes a few."""

SIDE = 128
"""Rows and columns of the matrices that are multiplied."""

_ERRORS = (RuntimeError, AssertionError, OSError, ValueError)


def build() -> Build:
    """What this torch was built for."""
    return Build(
        version=str(torch.__version__),
        cuda=torch.version.cuda or "",
        hip=torch.version.hip or "",
        archs=architectures(),
    )


def architectures() -> tuple[str, ...]:
    """What ``torch.cuda.get_arch_list`` returns, without a GPU too."""
    read = getattr(torch._C, "_cuda_getArchFlags", None)
    flags = read() if read is not None else None
    return tuple(flags.split()) if flags else ()


def cuda_count() -> int:
    """Number of GPUs that torch sees, without its warning if it sees none."""
    with warnings.catch_warnings(action="ignore"):
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def current_index() -> int:
    """Index of torch's current GPU; 0 if CUDA does not start."""
    try:
        return torch.cuda.current_device()
    except _ERRORS:
        return 0


def cuda_obstacle(
    index: int = 0, *, product: bool = False, driver: nvidia.Driver | None = None
) -> GpuObstacle | None:
    """Why ``cuda:index`` cannot be used, or None if a kernel ran on it.

    ROCm counts as CUDA, as in torch.

    Args:
        index: of the GPU.
        product: multiply matrices too, within :data:`PATIENCE`. This loads cuBLAS, which from
            then on ignores CUBLAS_WORKSPACE_CONFIG, so that it must not come before
            deterministic training.
        driver: facts about the driver; read if they are needed and not given.
    """
    count = cuda_count()
    if not count:
        return explain(collect(start(), driver=driver))
    if index >= count:
        return explain(Evidence(build(), f"no such GPU: {count}", visible=_visible(), index=index))
    answer = within(PATIENCE, lambda: check_product(f"cuda:{index}")) if product else run(index)
    return explain(collect(answer, index, driver)) if answer else None


def unused_gpu() -> GpuObstacle | None:
    """Why ``auto`` does not use a GPU that the driver reports; None if there is none to report.

    A missing driver or GPU is not reported, nor is a GPU that CUDA_VISIBLE_DEVICES hides.
    """
    if not torch.version.cuda:
        return _unused_by_build()
    answer = start()
    quiet = ("Found no NVIDIA driver", "No CUDA GPUs are available", "no CUDA-capable device")
    if not answer or any(text in answer for text in quiet):
        return None
    return explain(collect(answer))


def _unused_by_build() -> GpuObstacle | None:
    """The same for a torch without CUDA: only nvidia-smi, if installed, lists a GPU."""
    if _visible() in ("", "-1"):
        return None
    table, version, _ = nvidia.ask_smi()
    if not table:
        return None
    return explain(collect("", driver=nvidia.Driver(version=version, table=table)))


def mps_obstacle(*, product: bool = False) -> GpuObstacle | None:
    """Why MPS, the GPU of a Mac, cannot be used, or None; with ``product`` multiply on it too."""
    evidence = Evidence(build(), "", system=platform.system())
    if not torch.backends.mps.is_built():
        return describe(Cause.MPS_NOT_BUILT, evidence)
    if not torch.backends.mps.is_available():
        return describe(Cause.MPS_NOT_AVAILABLE, evidence)
    answer = within(PATIENCE, lambda: check_product("mps")) if product else ""
    return describe(Cause.MPS_FAILED, replace(evidence, answer=answer)) if answer else None


def start() -> str:
    """Start CUDA; torch's error if it does not start, else ""."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's own words about the same
            torch.cuda.init()
    except _ERRORS as error:
        return first_line(error)
    return ""


def run(index: int) -> str:
    """Add two numbers on a GPU; CUDA's error if that fails, else ""."""
    try:
        with warnings.catch_warnings(action="ignore"):
            total = (torch.ones(2, device=torch.device("cuda", index)) + 1).tolist()
    except _ERRORS as error:
        return first_line(error)
    return "" if total == [2.0, 2.0] else f"wrong result: 1 + 1 is {total[0]}"


def check_product(device: str) -> str:
    """Multiply two matrices on a device and on the CPU; return the fault of the result, or "".

    The matrices hold whole numbers from -8 to 8, which TF32 and bfloat16 represent exactly. Their
    product stays below 2**24, so the two results are equal, bit for bit, in any arithmetic.
    """
    numbers = torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE)
    left, right = numbers % 17 - 8, numbers % 13 - 6
    try:
        with warnings.catch_warnings(action="ignore"):
            product = (left.to(device) @ right.to(device)).cpu()
    except _ERRORS as error:
        return first_line(error)
    wrong = int((product != left @ right).sum())
    return (
        f"wrong result: {wrong:,} of {SIDE * SIDE:,} entries of a matrix product" if wrong else ""
    )


def within(seconds: float, work: Callable[[], str]) -> str:
    """What ``work`` returns, or "no answer …" if it takes longer: a broken GPU can hang for ever."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    return f"no answer within {seconds:.0f} s" if thread.is_alive() else "the check failed"


def collect(answer: str, index: int | None = None, driver: nvidia.Driver | None = None) -> Evidence:
    """Everything that decides what ``answer`` means."""
    name, capability = ("", None) if index is None else _identity(index)
    return Evidence(
        build=build(),
        answer=answer,
        driver=driver or nvidia.read_driver(),
        visible=_visible(),
        index=index,
        name=name,
        capability=capability,
        system=platform.system(),
    )


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _identity(index: int) -> tuple[str, tuple[int, int] | None]:
    try:
        return torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    except _ERRORS:
        return "", None
