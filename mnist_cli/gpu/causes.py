"""Finds why a GPU does not work. Imports no torch.

The signs are texts of torch (``c10/cuda/CUDAFunctions.cpp``), of the CUDA
runtime (``cudaGetErrorString``) and of nvidia-smi.
"""

from __future__ import annotations

import re

from mnist_cli.gpu.archs import is_newer_than_build, supports
from mnist_cli.gpu.nvidia import Driver
from mnist_cli.gpu.obstacle import Cause, Evidence

_SMI_SIGNS = (
    ("Driver/library version mismatch", Cause.DRIVER_MISMATCH),
    ("Insufficient Permissions", Cause.NO_PERMISSION),
    ("GPU is lost", Cause.FAULT),
)

_SIGNS = {
    Cause.DRIVER_TOO_OLD: (
        "too old (found version",
        "driver version is insufficient",
        "unsupported toolchain",
    ),
    Cause.FORWARD_COMPATIBILITY: ("forward compatibility was attempted",),
    Cause.DRIVER_MISMATCH: ("unsupported display driver / cuda driver",),
    Cause.CARD_TOO_OLD: (
        "no kernel image is available",
        "device kernel image is invalid",
        "named symbol not found",
    ),
    Cause.OUT_OF_MEMORY: ("out of memory", "_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),
    Cause.BUSY: ("busy or unavailable",),
    Cause.NOT_INITIALIZED: ("system not yet initialized",),
    Cause.FORKED: ("forked subprocess",),
    Cause.START_FAILED: (
        "driver initialization failed",
        "initialization error",
        "CUDA unknown error",
    ),
    Cause.NOT_PASSED_ON: ("stub library",),
    Cause.NO_SUCH_GPU: ("no such GPU", "invalid device ordinal"),
    Cause.FAULT: (
        "ECC error",
        "GPU is lost",
        "unspecified launch failure",
        "illegal memory access",
        "misaligned address",
        "illegal instruction",
    ),
    Cause.WRONG_RESULT: ("wrong result",),
    Cause.NO_ANSWER: ("no answer",),
}

_NOTHING_SHOWN = ("No CUDA GPUs are available", "no CUDA-capable device is detected")


def find_cause(evidence: Evidence) -> Cause:
    """The cause, by the most certain fact first: build, nvidia-smi, variable, CUDA's answer."""
    build, answer = evidence.build, evidence.answer
    if not build.cuda:
        if not build.hip:
            return Cause.CPU_BUILD
        if evidence.index is None:
            return Cause.ROCM_WITHOUT_GPU
    started = evidence.index is not None
    for sign, cause in _SMI_SIGNS:
        if not started and sign in evidence.driver.complaint:
            return cause
    shows_nothing = any(text in answer for text in _NOTHING_SHOWN) or not answer
    # CUDA finds no GPU by the variable either way; which error it reports depends on its version.
    unknown_index = "invalid device ordinal" in answer
    if not started and evidence.visible is not None and (shows_nothing or unknown_index):
        if _hides(evidence.visible, evidence.driver):
            return Cause.HIDDEN
        shows_nothing = True
    if "Found no NVIDIA driver" in answer or "OS call failed" in answer or shows_nothing:
        return _of_missing(evidence, no_driver="no NVIDIA driver" in answer)
    known = (cause for cause, signs in _SIGNS.items() if any(sign in answer for sign in signs))
    cause = next(known, Cause.UNKNOWN)
    if cause is Cause.FORKED and not evidence.driver.loaded:
        return _of_missing(evidence, no_driver=True)  # torch refuses forks without a GPU too
    return _of_card(cause, evidence) if cause is Cause.CARD_TOO_OLD else cause


def _hides(visible: str, driver: Driver) -> bool:
    """Whether CUDA_VISIBLE_DEVICES is known to leave no GPU: its first entry names none.

    CUDA reads it up to the first entry that is no GPU. Without nvidia-smi's list, a number or a
    UUID may be valid; the list has no MIG instances.
    """
    first = visible.partition(",")[0].strip()
    number = re.match(r"\d+", first)
    if number:
        return bool(driver.table) and int(number[0]) >= len(driver.table)
    if first.startswith("GPU-"):
        return bool(driver.table) and not any(c.uuid.startswith(first) for c in driver.table)
    return not first.startswith("MIG-")


def _of_missing(evidence: Evidence, *, no_driver: bool) -> Cause:
    """Why CUDA sees neither driver nor GPU, by what the system has."""
    driver = evidence.driver
    if driver.closed:
        return Cause.NO_PERMISSION
    if driver.loaded:
        # The driver is the host's; a container lacks the device files or the library.
        lacks_files = evidence.system == "Linux" and not driver.nodes
        return Cause.NOT_PASSED_ON if no_driver or lacks_files else Cause.NONE_SHOWN
    installed = driver.installed and driver.cards is None
    return Cause.NO_DRIVER if driver.cards or installed or not no_driver else Cause.NO_GPU


def _of_card(cause: Cause, evidence: Evidence) -> Cause:
    """Whether a card without fitting kernels is older or newer than the build."""
    capability, archs = evidence.capability, evidence.build.archs
    if capability is None or not archs:
        return cause
    if supports(archs, capability):
        return Cause.KERNEL_MISSING
    return Cause.CARD_TOO_NEW if is_newer_than_build(archs, capability) else cause
