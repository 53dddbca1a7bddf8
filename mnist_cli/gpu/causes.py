"""Finds the cause of a GPU that does not work. Imports no torch.

The texts that are looked for are those of torch (``c10/cuda/CUDAFunctions.cpp``), of the CUDA
runtime (``cudaGetErrorString``) and of nvidia-smi.
"""

from __future__ import annotations

from mnist_cli.gpu.archs import is_newer_than_build, supports
from mnist_cli.gpu.nvidia import Driver
from mnist_cli.gpu.obstacle import Cause, Evidence

_SMI_SIGNS = (
    ("Driver/library version mismatch", Cause.DRIVER_MISMATCH),
    ("Insufficient Permissions", Cause.NO_PERMISSION),
    ("GPU is lost", Cause.FAULT),
)

_SIGNS = (
    ("too old (found version", Cause.DRIVER_TOO_OLD),
    ("driver version is insufficient", Cause.DRIVER_TOO_OLD),
    ("unsupported toolchain", Cause.DRIVER_TOO_OLD),
    ("forward compatibility was attempted", Cause.FORWARD_COMPATIBILITY),
    ("unsupported display driver / cuda driver", Cause.DRIVER_MISMATCH),
    ("no kernel image is available", Cause.CARD_TOO_OLD),
    ("device kernel image is invalid", Cause.CARD_TOO_OLD),
    ("named symbol not found", Cause.CARD_TOO_OLD),
    ("out of memory", Cause.OUT_OF_MEMORY),
    ("_ALLOC_FAILED", Cause.OUT_OF_MEMORY),
    ("busy or unavailable", Cause.BUSY),
    ("system not yet initialized", Cause.NOT_INITIALIZED),
    ("forked subprocess", Cause.FORKED),
    ("driver initialization failed", Cause.START_FAILED),
    ("initialization error", Cause.START_FAILED),
    ("CUDA unknown error", Cause.START_FAILED),
    ("stub library", Cause.NOT_PASSED_ON),
    ("no such GPU", Cause.NO_SUCH_GPU),
    ("invalid device ordinal", Cause.NO_SUCH_GPU),
    ("ECC error", Cause.FAULT),
    ("GPU is lost", Cause.FAULT),
    ("unspecified launch failure", Cause.FAULT),
    ("wrong result", Cause.WRONG_RESULT),
    ("no answer", Cause.NO_ANSWER),
)

_NOTHING_SHOWN = ("No CUDA GPUs are available", "no CUDA-capable device is detected")


def find_cause(evidence: Evidence) -> Cause:
    """The cause, by what is certain first: the build, nvidia-smi, the variable, CUDA's answer."""
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
    if not started and (shows_nothing or "invalid device ordinal" in answer) and _hides(evidence):
        return Cause.HIDDEN
    if "Found no NVIDIA driver" in answer or "OS call failed" in answer or shows_nothing:
        return _of_missing(evidence.driver, no_driver="no NVIDIA driver" in answer)
    cause = next((cause for sign, cause in _SIGNS if sign in answer), Cause.UNKNOWN)
    return _of_card(cause, evidence) if cause is Cause.CARD_TOO_OLD else cause


def _hides(evidence: Evidence) -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves no GPU: CUDA reads it up to the first unknown entry."""
    if evidence.visible is None:
        return False
    first = evidence.visible.partition(",")[0].strip()
    count = len(evidence.driver.table)
    return not (first.isdecimal() and int(first) < count)


def _of_missing(driver: Driver, *, no_driver: bool) -> Cause:
    """Why CUDA sees neither driver nor GPU, by what the system has."""
    if driver.closed:
        return Cause.NO_PERMISSION
    if driver.loaded:
        # The driver is the host's; a container lacks the device files or the library.
        return Cause.NOT_PASSED_ON if no_driver or not driver.nodes else Cause.NONE_SHOWN
    return Cause.NO_DRIVER if driver.cards or not no_driver else Cause.NO_GPU


def _of_card(cause: Cause, evidence: Evidence) -> Cause:
    """Whether a card without fitting kernels is older or newer than the build."""
    capability, archs = evidence.capability, evidence.build.archs
    if capability is None or not archs:
        return cause
    if supports(archs, capability):
        return Cause.DRIVER_MISMATCH  # the kernels are there; the driver does not find them
    return Cause.CARD_TOO_NEW if is_newer_than_build(archs, capability) else cause
