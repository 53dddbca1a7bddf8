"""Descriptions of causes in one GPU: its architecture, its memory, its state."""

from __future__ import annotations

import re

from mnist_cli.gpu.archs import build_range
from mnist_cli.gpu.obstacle import Evidence
from mnist_cli.gpu.phrases import LISTS, Words, first_sentence

OLDEST_CARD = (5, 0)
"""Compute capability: no supported torch is built for an older one."""
TURING = (7, 5)
"""Compute capability of the oldest GPUs that builds for CUDA 12.8 and newer run on."""


def card_too_old(evidence: Evidence) -> Words:
    """A GPU older than what torch is built for."""
    card = evidence.capability
    if card is not None and card < OLDEST_CARD:
        step = "No supported torch runs on this GPU; use --device cpu."
    elif card is not None and card < TURING:
        step = (
            "Install a torch build for CUDA 12.6, the last with sm_50 to sm_70, and check "
            f"`torch.cuda.get_arch_list()`; {LISTS}. Or use --device cpu."
        )
    else:
        step = f"Install a torch build that has {_arch(evidence)}; {LISTS}. Or use --device cpu."
    return _no_kernels(evidence), step


def card_too_new(evidence: Evidence) -> Words:
    """A GPU newer than what torch is built for."""
    return (
        _no_kernels(evidence),
        "Install a torch build for a newer CUDA (12.8 or newer for sm_100 and sm_120); "
        "https://pytorch.org/get-started/locally lists the builds.",
    )


def kernel_missing(evidence: Evidence) -> Words:
    """No kernel for a GPU, although the build of torch lists one."""
    card = evidence.name or evidence.label
    return (
        f"torch reports no kernel for {card}, although the build lists its architecture",
        "Reinstall torch. If the error stays, update the driver.",
    )


def out_of_memory(evidence: Evidence) -> Words:
    """No memory is left, or cuBLAS finds none for itself, for which it has another name."""
    table = evidence.driver.table
    used = f" ({table[0].used} of {table[0].total} MiB in use)" if len(table) == 1 else ""
    detail = f"the memory of {evidence.label} is full{used}"
    if "CUBLAS_STATUS_NOT_INITIALIZED" in evidence.answer:
        detail = f"cuBLAS does not start on {evidence.label}, usually because of full memory{used}"
    return (
        detail,
        "End the processes that `nvidia-smi` lists, or choose another GPU with --device cuda:N.",
    )


def busy(evidence: Evidence) -> Words:
    """CUDA calls a GPU "busy or unavailable"; the compute mode tells which."""
    modes = {card.mode for card in evidence.driver.table}
    mode = modes.pop() if len(modes) == 1 else ""  # the rows have another order than CUDA's GPUs
    share = "let processes share it: `sudo nvidia-smi -c DEFAULT`"
    if mode.startswith("Exclusive"):
        return (
            f"{evidence.label} is in use by another process (compute mode {mode})",
            "End the process that `nvidia-smi` lists, choose another GPU with --device cuda:N, or "
            f"{share}.",
        )
    if mode == "Prohibited":
        return (
            f"compute mode {mode} allows no process on {evidence.label}",
            f"Choose another GPU with --device cuda:N, or {share}.",
        )
    return (
        f"CUDA reports {evidence.label} as busy or unavailable",
        "Run `nvidia-smi`; check for other processes, MIG mode and faults.",
    )


def no_such_gpu(evidence: Evidence) -> Words:
    """An index beyond the last GPU."""
    found = re.search(r"no such GPU: (\d+)", evidence.answer)
    count = int(found[1]) if found else 0
    have = {0: "fewer GPUs", 1: "only cuda:0"}.get(count, f"cuda:0 to cuda:{count - 1}")
    if evidence.visible is None:
        return f"torch sees {have}", "Use a device in this range, or --device auto."
    return (
        f"with CUDA_VISIBLE_DEVICES={evidence.visible!r}, torch sees {have}",
        "Use a device in this range, or run `unset CUDA_VISIBLE_DEVICES` to see all GPUs.",
    )


def fault(evidence: Evidence) -> Words:
    """An error of the hardware, or one that a program can cause as well."""
    text = evidence.driver.complaint or evidence.answer
    either = "launch failure" in evidence.answer or "illegal memory access" in evidence.answer
    bug = ", or the program has a bug" if either else ""
    return (
        f"{evidence.label} reports a fault: {first_sentence(text)}",
        "Run `sudo dmesg | grep Xid` first and keep its output, then restart. If the fault "
        f"returns, the GPU may be defective{bug}.",
    )


def wrong_result(evidence: Evidence) -> Words:
    """A kernel ran, and its result is wrong."""
    return (
        f"{evidence.label} computes a {evidence.answer}",
        "Do not train on it. Restart the machine, update the driver, and try again.",
    )


def no_answer(evidence: Evidence) -> Words:
    """A kernel that does not end."""
    return (
        f"{evidence.label} gives {evidence.answer}",
        "Run `nvidia-smi`; if that does not answer either, restart the machine.",
    )


def _no_kernels(evidence: Evidence) -> str:
    card = evidence.name or evidence.label
    capability = evidence.capability
    of = f", compute capability {capability[0]}.{capability[1]}" if capability else ""
    built = build_range(evidence.build.archs) or "other cards"
    return f"this torch is built for compute capability {built}, not for this card ({card}{of})"


def _arch(evidence: Evidence) -> str:
    capability = evidence.capability
    return f"sm_{capability[0]}{capability[1]}" if capability else "its architecture"
