"""What is said of each cause: the detail that follows "because", and the next step.

Each next step names a command or an action; none names the address of a package registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mnist_cli.gpu.archs import build_range
from mnist_cli.gpu.causes import find_cause
from mnist_cli.gpu.nvidia import cuda_version
from mnist_cli.gpu.obstacle import Cause, Evidence, GpuObstacle

LISTS = "pytorch.org/get-started lists them"
CONTAINER = "In a container, start it with `docker run --gpus all` (NVIDIA Container Toolkit)."
MINIMUM_DRIVER = {12: "525", 13: "580"}
"""Oldest driver for a major version of CUDA (CUDA Toolkit release notes, minor compatibility)."""

OLDEST_CUDA = 12
"""Major version: torch 2.10 and newer are not built for an older one."""

Words = tuple[str, str]
"""The detail and the next step."""


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
        return detail, "Use --device cpu. For a GPU, install the card, its driver and a CUDA build."
    return detail, f"Install a torch build with CUDA; {LISTS}."


def _rocm(evidence: Evidence) -> Words:
    build = evidence.build
    rocm = f"ROCm {build.hip}".rstrip()
    return (
        f"this torch ({build.version}) is built for {rocm} and finds no AMD GPU",
        "For an AMD GPU, run `rocminfo`, check HIP_VISIBLE_DEVICES, and join the groups render "
        f"and video. For an NVIDIA GPU, install a torch build with CUDA; {LISTS}.",
    )


def _no_gpu(evidence: Evidence) -> Words:
    seen = "no NVIDIA driver and no NVIDIA GPU were found"
    if evidence.driver.cards is None:
        seen = "no NVIDIA driver was found"
    return (
        f"{seen} on this machine",
        f"Use --device cpu. With an NVIDIA GPU, install its driver ({_enough(evidence)}) and "
        f"check it with `nvidia-smi`. {CONTAINER}",
    )


def _no_driver(evidence: Evidence) -> Words:
    cards = evidence.driver.cards
    there = "this machine has an NVIDIA GPU, but " if cards else ""
    return (
        f"{there}no NVIDIA driver is loaded",
        f"Install the driver ({_enough(evidence)}; nvidia.com/drivers), restart, and check it "
        f"with `nvidia-smi`. {CONTAINER}",
    )


def _not_passed_on(evidence: Evidence) -> Words:
    driver = evidence.driver
    what = "its library libcuda.so.1 is not found" if driver.nodes else "there is no /dev/nvidia*"
    return (
        f"{_driver(evidence)} is loaded, but {what} here",
        f"{CONTAINER} Elsewhere run `sudo nvidia-smi` once, or reinstall the driver.",
    )


def _driver_too_old(evidence: Evidence) -> Words:
    needed = evidence.build.cuda
    found = re.search(r"found version (\d+)", evidence.answer)
    has = cuda_version(int(found[1])) if found else evidence.driver.cuda
    major = int(has.partition(".")[0]) if has else 0
    supported = f" (it supports CUDA {has})" if has else ""
    step = f"Update the driver to {_enough(evidence)}"
    if major >= OLDEST_CUDA:
        step += f", or install a torch build for CUDA {major} instead; {LISTS}"
    return f"{_driver(evidence)} is too old for CUDA {needed}{supported}", f"{step}."


def _driver_mismatch(evidence: Evidence) -> Words:
    return (
        f"the kernel module and the libraries of {_driver(evidence)} do not fit each other",
        "Restart the machine: this follows an update of the driver. If it stays, remove "
        "packages named cuda-compat and reinstall the driver.",
    )


def _forward_compatibility(evidence: Evidence) -> Words:
    return (
        "the CUDA library is newer than the driver, and this GPU does not support that",
        "Restart the machine if the driver was just updated. Otherwise remove the package "
        "cuda-compat, or take its folder out of LD_LIBRARY_PATH, and update the driver to "
        f"{_enough(evidence)}.",
    )


def _none_shown(evidence: Evidence) -> Words:
    return (
        f"{_driver(evidence)} is loaded, but shows no GPU",
        "Run `nvidia-smi -L`, and `sudo dmesg | grep NVRM` for the reason. If MIG mode is on, "
        "create an instance first: `sudo nvidia-smi mig -cgi 0 -C`.",
    )


def _hidden(evidence: Evidence) -> Words:
    shown = len(evidence.driver.table)
    range_ = f" (0 to {shown - 1})" if shown > 1 else " (0)" if shown else ""
    return (
        f"CUDA_VISIBLE_DEVICES={evidence.visible!r} hides every GPU",
        f"Run `unset CUDA_VISIBLE_DEVICES`, or set it to an index of `nvidia-smi -L`{range_}.",
    )


def _no_permission(evidence: Evidence) -> Words:
    closed = " and ".join(evidence.driver.closed)
    if not closed:
        return (
            "this process may not use the NVIDIA driver",
            f"{CONTAINER} With SELinux, add `--security-opt=label=disable`.",
        )
    return (
        f"this user may not open {closed}",
        "Join the group that owns the files (`ls -l /dev/nvidia*`, often video: "
        f"`sudo usermod -aG video $USER`) and log in again. {CONTAINER}",
    )


def _card_too_old(evidence: Evidence) -> Words:
    return (
        _no_kernels(evidence),
        f"Install a torch build for an older CUDA that has {_arch(evidence)}; {LISTS}. "
        "Or use --device cpu.",
    )


def _card_too_new(evidence: Evidence) -> Words:
    return (
        _no_kernels(evidence),
        f"Install a newer torch, built for a CUDA that has {_arch(evidence)}; {LISTS}.",
    )


def _out_of_memory(evidence: Evidence) -> Words:
    table = evidence.driver.table
    used = f" ({table[0].used} of {table[0].total} MiB in use)" if len(table) == 1 else ""
    return (
        f"the memory of {evidence.label} is full{used}",
        "End the processes that `nvidia-smi` lists, or choose another GPU with --device cuda:N.",
    )


def _busy(evidence: Evidence) -> Words:
    table = evidence.driver.table
    mode = f" (compute mode {table[0].mode})" if len(table) == 1 and table[0].mode else ""
    return (
        f"{evidence.label} is in use by another process{mode}",
        "End the process that `nvidia-smi` lists, choose another GPU with --device cuda:N, or "
        "let processes share it: `sudo nvidia-smi -c DEFAULT`.",
    )


def _no_such_gpu(evidence: Evidence) -> Words:
    found = re.search(r"no such GPU: (\d+)", evidence.answer)
    count = int(found[1]) if found else 0
    have = {0: "fewer GPUs", 1: "cuda:0 only"}.get(count, f"cuda:0 to cuda:{count - 1}")
    visible = evidence.visible
    if visible is None:
        return f"this machine has {have}", "Choose one of them, or use --device auto."
    return (
        f"this machine has {have} while CUDA_VISIBLE_DEVICES={visible!r}",
        "Choose one of them, or run `unset CUDA_VISIBLE_DEVICES` to see all GPUs.",
    )


def _not_initialized(_: Evidence) -> Words:
    return (
        "the switches between the GPUs are not initialized",
        "Start the fabric manager: `sudo systemctl start nvidia-fabricmanager`.",
    )


def _forked(_: Evidence) -> Words:
    return (
        "this process was forked from one that uses CUDA",
        "Start a new process, or use the start method spawn.",
    )


def _start_failed(evidence: Evidence) -> Words:
    return (
        f"CUDA does not start: {_first_sentence(evidence.answer)}",
        "Run `nvidia-smi`. After the machine has slept, reload the module: `sudo modprobe -r "
        "nvidia_uvm && sudo modprobe nvidia_uvm`; otherwise restart the machine.",
    )


def _fault(evidence: Evidence) -> Words:
    text = evidence.driver.complaint or evidence.answer
    return (
        f"{evidence.label} reports a fault: {_first_sentence(text)}",
        "Restart the machine. If it stays, look for Xid in `sudo dmesg`: the card may be defective.",
    )


def _wrong_result(evidence: Evidence) -> Words:
    return (
        f"{evidence.label} computes a {evidence.answer}",
        "Do not train on it. Restart the machine, update the driver, and try again.",
    )


def _no_answer(evidence: Evidence) -> Words:
    return (
        f"{evidence.label} gives {evidence.answer}",
        "Run `nvidia-smi`; if that does not answer either, restart the machine.",
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
        f"a matrix product on mps fails: {_first_sentence(evidence.answer)}",
        "Use --device cpu, and update macOS and torch.",
    )


def _unknown(evidence: Evidence) -> Words:
    return (
        _first_sentence(evidence.answer) or "torch gives no reason",
        "Run `nvidia-smi` and `sudo dmesg | grep -i nvidia`, and search for what they print.",
    )


def _driver(evidence: Evidence) -> str:
    return f"the NVIDIA driver {evidence.driver.version}".rstrip()


def _enough(evidence: Evidence) -> str:
    """The driver that this build of torch needs at least."""
    cuda = evidence.build.cuda
    minimum = MINIMUM_DRIVER.get(int(cuda.partition(".")[0] or 0)) if cuda else None
    return f"version {minimum} or newer" if minimum else "its newest version"


def _no_kernels(evidence: Evidence) -> str:
    card = evidence.name or evidence.label
    capability = evidence.capability
    of = f", compute capability {capability[0]}.{capability[1]}" if capability else ""
    built = build_range(evidence.build.archs) or "other cards"
    return f"this torch is built for compute capability {built}, not for this card ({card}{of})"


def _arch(evidence: Evidence) -> str:
    capability = evidence.capability
    return f"sm_{capability[0]}{capability[1]}" if capability else "its architecture"


def _first_sentence(text: str) -> str:
    """The first sentence of torch's or CUDA's own words."""
    return re.split(r"\. |\n", text, maxsplit=1)[0].strip().rstrip(".")


_WORDS: Mapping[Cause, Callable[[Evidence], Words]] = {
    Cause.CPU_BUILD: _cpu_build,
    Cause.ROCM_WITHOUT_GPU: _rocm,
    Cause.NO_GPU: _no_gpu,
    Cause.NO_DRIVER: _no_driver,
    Cause.NOT_PASSED_ON: _not_passed_on,
    Cause.DRIVER_TOO_OLD: _driver_too_old,
    Cause.DRIVER_MISMATCH: _driver_mismatch,
    Cause.FORWARD_COMPATIBILITY: _forward_compatibility,
    Cause.NONE_SHOWN: _none_shown,
    Cause.HIDDEN: _hidden,
    Cause.NO_PERMISSION: _no_permission,
    Cause.CARD_TOO_OLD: _card_too_old,
    Cause.CARD_TOO_NEW: _card_too_new,
    Cause.OUT_OF_MEMORY: _out_of_memory,
    Cause.BUSY: _busy,
    Cause.NO_SUCH_GPU: _no_such_gpu,
    Cause.NOT_INITIALIZED: _not_initialized,
    Cause.FORKED: _forked,
    Cause.START_FAILED: _start_failed,
    Cause.FAULT: _fault,
    Cause.WRONG_RESULT: _wrong_result,
    Cause.NO_ANSWER: _no_answer,
    Cause.MPS_NOT_BUILT: _mps_not_built,
    Cause.MPS_NOT_AVAILABLE: _mps_not_available,
    Cause.MPS_FAILED: _mps_failed,
    Cause.UNKNOWN: _unknown,
}
