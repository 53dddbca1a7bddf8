"""Why a GPU cannot be used: the cause, and the evidence for it. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from mnist_cli.gpu.nvidia import Driver, cuda_version


class Cause(StrEnum):
    """What stands between torch and a GPU."""

    CPU_BUILD = "cpu-build"
    ROCM_WITHOUT_GPU = "rocm-without-gpu"
    NO_GPU = "no-gpu"
    NO_DRIVER = "no-driver"
    NOT_PASSED_ON = "not-passed-on"
    DRIVER_TOO_OLD = "driver-too-old"
    DRIVER_MISMATCH = "driver-mismatch"
    FORWARD_COMPATIBILITY = "forward-compatibility"
    NONE_SHOWN = "none-shown"
    HIDDEN = "hidden"
    NO_PERMISSION = "no-permission"
    CARD_TOO_OLD = "card-too-old"
    CARD_TOO_NEW = "card-too-new"
    KERNEL_MISSING = "kernel-missing"
    OUT_OF_MEMORY = "out-of-memory"
    BUSY = "busy"
    NO_SUCH_GPU = "no-such-gpu"
    NOT_INITIALIZED = "not-initialized"
    FORKED = "forked"
    START_FAILED = "start-failed"
    FAULT = "fault"
    WRONG_RESULT = "wrong-result"
    NO_ANSWER = "no-answer"
    MPS_NOT_BUILT = "mps-not-built"
    MPS_NOT_AVAILABLE = "mps-not-available"
    MPS_FAILED = "mps-failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class GpuObstacle:
    """One reason, and what to do about it.

    Attributes:
        cause: what kind of reason.
        detail: the reason in words that can follow "because"; no full stop.
        next_step: what to do, as whole sentences.
    """

    cause: Cause
    detail: str
    next_step: str


@dataclass(frozen=True)
class Build:
    """What this torch was built for; a version is "" if it was not. ``archs`` are torch's names."""

    version: str
    cuda: str = ""
    hip: str = ""
    archs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The facts when a GPU does not work.

    Attributes:
        build: of torch.
        answer: the error of CUDA or torch, its first line.
        driver: of this machine.
        visible: the environment variable CUDA_VISIBLE_DEVICES; None if it is not set.
        index: the requested GPU; None if CUDA did not start at all.
        name: of that GPU, if it is known.
        capability: of that GPU, such as (9, 0), if it is known.
        system: as :func:`platform.system` names it.
    """

    build: Build
    answer: str
    driver: Driver = field(default_factory=Driver)
    visible: str | None = None
    index: int | None = None
    name: str = ""
    capability: tuple[int, int] | None = None
    system: str = "Linux"

    @property
    def label(self) -> str:
        """How messages name the GPU."""
        return "the GPU" if self.index is None else f"cuda:{self.index}"

    @property
    def supported_cuda(self) -> str:
        """The newest CUDA that the driver supports; empty if unknown."""
        found = re.search(r"found version (\d+)", self.answer)
        return cuda_version(int(found[1])) if found else self.driver.cuda

    @property
    def mode(self) -> str:
        """The compute mode if all GPUs have the same: nvidia-smi's order is not CUDA's."""
        modes = {card.mode for card in self.driver.table}
        return modes.pop() if len(modes) == 1 else ""
