"""Descriptions of causes in the driver, the container and the environment."""

from __future__ import annotations

import re

from mnist_cli.gpu.nvidia import cuda_version
from mnist_cli.gpu.obstacle import Evidence
from mnist_cli.gpu.phrases import (
    CONTAINER,
    LISTS,
    WITHOUT_GPU,
    WSL,
    Words,
    driver_name,
    enough,
    first_sentence,
)

OLDEST_CUDA = (12, 6)
"""torch 2.10, the oldest supported, and newer ones are not built for an older CUDA."""


def no_gpu(evidence: Evidence) -> Words:
    """Neither a driver nor a GPU."""
    seen = "no NVIDIA driver and no NVIDIA GPU were found"
    if evidence.driver.cards is None:
        seen = "no NVIDIA driver was found"
    install = (
        WSL
        if evidence.driver.wsl
        else f"With an NVIDIA GPU, install its driver ({enough(evidence)}) and check it with "
        "`nvidia-smi`."
    )
    return f"{seen} on this machine", f"{WITHOUT_GPU} {install} {CONTAINER}"


def no_driver(evidence: Evidence) -> Words:
    """No driver is loaded, whether or not it is installed."""
    there = "this machine has an NVIDIA GPU, but " if evidence.driver.cards else ""
    detail = f"{there}no NVIDIA driver is loaded"
    if evidence.driver.wsl:
        return detail, f"{WSL} {CONTAINER}"
    if not evidence.driver.installed:
        return detail, (
            f"Install the driver ({enough(evidence)}; nvidia.com/drivers), restart, and check it "
            f"with `nvidia-smi`. {CONTAINER}"
        )
    step = "The driver is installed but not loaded. Restart. If that does not help, "
    if evidence.system != "Linux":
        return detail, f"{step}reinstall the driver."
    return detail, (
        f"{step}run `sudo modprobe nvidia` and read its error: after a kernel update reinstall "
        "the driver; with Secure Boot sign or enroll the module."
    )


def not_passed_on(evidence: Evidence) -> Words:
    """A driver is loaded, but its device files or its library are missing."""
    driver = evidence.driver
    if not driver.nodes:
        return (
            f"{driver_name(evidence)} is loaded, but there is no /dev/nvidia* here",
            f"{CONTAINER} Outside a container, run `sudo nvidia-smi` once.",
        )
    outside = WSL if driver.wsl else "Outside a container, reinstall the driver."
    return (
        f"{driver_name(evidence)} is loaded, but its library libcuda.so.1 is not found here",
        f"{outside} In a container, add `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`.",
    )


def driver_too_old(evidence: Evidence) -> Words:
    """The driver supports an older CUDA than the one that torch is built for."""
    needed = evidence.build.cuda
    found = re.search(r"found version (\d+)", evidence.answer)
    has = cuda_version(int(found[1])) if found else evidence.driver.cuda
    supported = f" (it supports CUDA {has})" if has else ""
    if "unsupported toolchain" in evidence.answer:
        detail = f"{driver_name(evidence)} is too old for the PTX of CUDA {needed}{supported}"
        return detail, _newer_compiler(needed, has)
    step = f"Update the driver to {enough(evidence)}"
    # A driver runs every build of its major version: only PTX needs the minor version too.
    major = _version(has)[0]
    if OLDEST_CUDA[0] <= major < _version(needed)[0]:
        step += f", or install a torch build for CUDA {major}; {LISTS}"
    return f"{driver_name(evidence)} is too old for CUDA {needed}{supported}", f"{step}."


def _newer_compiler(needed: str, has: str) -> str:
    """The step for PTX that the driver cannot compile: it must know the same CUDA, not the same major."""
    step = (
        f"Update the driver to one that supports CUDA {needed} or newer "
        '(see "CUDA Version" in `nvidia-smi`)'
    )
    if OLDEST_CUDA <= _version(has) < _version(needed):
        step += f", or install a torch build for CUDA {has} or older; {LISTS}"
    return f"{step}."


def _version(cuda: str) -> tuple[int, int]:
    """``12.8`` as (12, 8); (0, 0) if it is unknown."""
    major, _, minor = cuda.partition(".")
    return int(major or 0), int(minor or 0)


def driver_mismatch(evidence: Evidence) -> Words:
    """Kernel module and libraries of different versions."""
    return (
        f"the kernel module and the libraries of {driver_name(evidence)} do not fit each other",
        "Restart the machine: this follows an update of the driver. If it stays, remove "
        "packages named cuda-compat and reinstall the driver.",
    )


def forward_compatibility(evidence: Evidence) -> Words:
    """A cuda-compat library on a GPU that does not support it."""
    return (
        "the CUDA library is newer than the driver, and this GPU does not support that",
        "Restart the machine if the driver was just updated. Otherwise remove the package "
        "cuda-compat, or take its folder out of LD_LIBRARY_PATH, and update the driver to "
        f"{enough(evidence)}.",
    )


def none_shown(evidence: Evidence) -> Words:
    """The driver works, but CUDA lists no GPU."""
    if evidence.visible is not None and not evidence.driver.table:
        return (
            f"torch finds no GPU with CUDA_VISIBLE_DEVICES={evidence.visible!r}",
            "Run `nvidia-smi -L`. If it lists a GPU, unset CUDA_VISIBLE_DEVICES.",
        )
    return (
        f"{driver_name(evidence)} is loaded, but shows no GPU",
        "Run `nvidia-smi -L`, and `sudo dmesg | grep NVRM` for the reason. If MIG mode is on, "
        "create an instance first: `sudo nvidia-smi mig -cgi 0 -C`.",
    )


def hidden(evidence: Evidence) -> Words:
    """CUDA_VISIBLE_DEVICES names no GPU. CUDA counts the fastest first, nvidia-smi by PCI bus."""
    return (
        f"CUDA_VISIBLE_DEVICES={evidence.visible!r} hides every GPU",
        "Unset CUDA_VISIBLE_DEVICES, or set it to a UUID that `nvidia-smi -L` prints (GPU-…).",
    )


def no_permission(evidence: Evidence) -> Words:
    """Device files that this user may not open."""
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


def not_initialized(_: Evidence) -> Words:
    """A machine with NVSwitch without its fabric manager."""
    return (
        "the NVSwitch fabric is not initialized",
        "Start the fabric manager: `sudo systemctl start nvidia-fabricmanager`.",
    )


def start_failed(evidence: Evidence) -> Words:
    """CUDA does not start, for a reason that it does not name."""
    return (
        f"CUDA does not start: {first_sentence(evidence.answer)}",
        "Run `nvidia-smi`. After the machine has slept, reload the module: `sudo modprobe -r "
        "nvidia_uvm && sudo modprobe nvidia_uvm`; otherwise restart the machine.",
    )
