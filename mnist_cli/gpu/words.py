"""Describes each cause: the detail that follows "because", and the next step.

Each next step names a command or an action; none names the address of a package registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mnist_cli.gpu import words_card as card
from mnist_cli.gpu import words_driver as driver
from mnist_cli.gpu.causes import find_cause
from mnist_cli.gpu.obstacle import Cause, Evidence, GpuObstacle
from mnist_cli.gpu.phrases import LISTS, WITHOUT_GPU, Words, first_sentence


def explain(evidence: Evidence) -> GpuObstacle:
    """The cause of a GPU that does not work, in words, with the next step."""
    return describe(find_cause(evidence), evidence)


def describe(cause: Cause, evidence: Evidence) -> GpuObstacle:
    """A cause that is known, in words."""
    return GpuObstacle(cause, *_WORDS[cause](evidence))


def _cpu_build(evidence: Evidence) -> Words:
    build = evidence.build.version
    detail = f"this torch ({build}) is built for the CPU only"
    if evidence.system == "Darwin":
        return detail, "CUDA is not available on macOS: use --device mps or cpu."
    if not evidence.driver.loaded and evidence.driver.cards == 0:
        detail += ", and this machine has no NVIDIA GPU"
        return detail, (
            f"{WITHOUT_GPU} For a GPU, install the card, its driver and a torch build with CUDA; "
            f"{LISTS}."
        )
    return detail, f"Install a torch build with CUDA; {LISTS}."


def _rocm(evidence: Evidence) -> Words:
    build = evidence.build
    rocm = f"ROCm {build.hip}".rstrip()
    return (
        f"this torch ({build.version}) is built for {rocm} and finds no AMD GPU",
        "For an AMD GPU, run `rocminfo`, check HIP_VISIBLE_DEVICES, and join the groups render "
        f"and video. For an NVIDIA GPU, install a torch build with CUDA; {LISTS}.",
    )


def _forked(_: Evidence) -> Words:
    return (
        "this process was forked from one that uses CUDA",
        "Start a new process, or use the start method spawn.",
    )


def _mps_not_built(evidence: Evidence) -> Words:
    if evidence.system == "Darwin":
        step = f"Install a torch build for macOS on Apple silicon; {LISTS}."
    else:
        step = "It is available on macOS only: use --device auto."
    return f"this torch ({evidence.build.version}) is built without MPS", step


def _mps_not_available(_: Evidence) -> Words:
    return (
        "this Mac or its macOS does not offer MPS",
        "It needs macOS 14 or newer on Apple silicon; use --device cpu.",
    )


def _mps_failed(evidence: Evidence) -> Words:
    return (
        f"a matrix product on mps fails: {first_sentence(evidence.answer)}",
        "Use --device cpu, and update macOS and torch.",
    )


def _unknown(evidence: Evidence) -> Words:
    return (
        first_sentence(evidence.answer) or "torch gives no reason",
        "Run `nvidia-smi` and `sudo dmesg | grep -i nvidia`, and search for what they print.",
    )


_WORDS: Mapping[Cause, Callable[[Evidence], Words]] = {
    Cause.CPU_BUILD: _cpu_build,
    Cause.ROCM_WITHOUT_GPU: _rocm,
    Cause.NO_GPU: driver.no_gpu,
    Cause.NO_DRIVER: driver.no_driver,
    Cause.NOT_PASSED_ON: driver.not_passed_on,
    Cause.DRIVER_TOO_OLD: driver.driver_too_old,
    Cause.DRIVER_MISMATCH: driver.driver_mismatch,
    Cause.FORWARD_COMPATIBILITY: driver.forward_compatibility,
    Cause.NONE_SHOWN: driver.none_shown,
    Cause.HIDDEN: driver.hidden,
    Cause.NO_PERMISSION: driver.no_permission,
    Cause.CARD_TOO_OLD: card.card_too_old,
    Cause.CARD_TOO_NEW: card.card_too_new,
    Cause.KERNEL_MISSING: card.kernel_missing,
    Cause.OUT_OF_MEMORY: card.out_of_memory,
    Cause.BUSY: card.busy,
    Cause.NO_SUCH_GPU: card.no_such_gpu,
    Cause.NOT_INITIALIZED: driver.not_initialized,
    Cause.FORKED: _forked,
    Cause.START_FAILED: driver.start_failed,
    Cause.FAULT: card.fault,
    Cause.WRONG_RESULT: card.wrong_result,
    Cause.NO_ANSWER: card.no_answer,
    Cause.MPS_NOT_BUILT: _mps_not_built,
    Cause.MPS_NOT_AVAILABLE: _mps_not_available,
    Cause.MPS_FAILED: _mps_failed,
    Cause.UNKNOWN: _unknown,
}
