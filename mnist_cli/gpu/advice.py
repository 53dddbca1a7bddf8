"""What to say about each cause: a table, whose rows are tried in order.

Of a cause's rows, the first whose condition holds is taken. Its texts name fields that
:mod:`mnist_cli.gpu.words` fills in. Each next step names a command or an action, and none names
the address of a package registry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mnist_cli.gpu.nvidia import parsed
from mnist_cli.gpu.obstacle import Cause, Evidence

OLDEST_CUDA = (12, 6)
"""torch 2.10, the oldest supported, and newer ones are not built for an older CUDA."""
OLDEST_CARD = (5, 0)
"""Compute capability: no supported torch is built for an older one."""
TURING = (7, 5)
"""Compute capability of the oldest GPUs that builds for CUDA 12.8 and newer run on."""

LISTS = "https://pytorch.org/get-started/locally shows the command."
WITHOUT_GPU = "Without a GPU, device auto trains on the CPU."
CONTAINER = (
    "For a container, use `docker run --gpus all`; the host needs the NVIDIA Container Toolkit."
)
WSL = "In WSL, install the NVIDIA driver on Windows, not inside WSL; then run `wsl --shutdown`."
INSTALL = "With an NVIDIA GPU, install its driver ({enough}) and check it with `nvidia-smi`."
NOT_LOADED = "The driver is installed but not loaded. Restart. If that does not help,"
CAPABILITIES = "In a container, add `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`."
CPU_BUILD = "this torch ({torch}) is built for the CPU only"
NO_KERNELS = (
    "this torch is built for compute capability {built}, not for this card ({card}{capability})"
)
NO_LIBRARY = "{driver} is loaded, but its library libcuda.so.1 is not found here"
PTX_TOO_OLD = "{driver} is too old for the PTX of CUDA {needed}{supported}"
NEWER_CUDA = (
    "Update the driver to one that supports CUDA {needed} or newer "
    '(see "CUDA Version" in `nvidia-smi`)'
)
ALLOW_SHARING = "let processes share it: `sudo nvidia-smi -c DEFAULT`."
FAULT = (
    "Run `sudo dmesg | grep Xid` first and keep its output, then restart. If the fault returns, "
    "the GPU may be defective"
)


class Row(NamedTuple):
    """What to say about a cause, on one condition."""

    cause: Cause
    detail: str
    next_step: str
    when: Callable[[Evidence], object] = lambda _: True


ROWS = (
    Row(
        Cause.CPU_BUILD,
        CPU_BUILD,
        "CUDA is not available on macOS: use device mps or cpu.",
        lambda e: e.system == "Darwin",
    ),
    Row(
        Cause.CPU_BUILD,
        f"{CPU_BUILD}, and this machine has no NVIDIA GPU",
        f"{WITHOUT_GPU} For a GPU, install the card, its driver and a torch build with CUDA; {LISTS}",
        lambda e: not e.driver.loaded and e.driver.cards == 0,
    ),
    Row(Cause.CPU_BUILD, CPU_BUILD, f"Install a torch build with CUDA; {LISTS}"),
    Row(
        Cause.ROCM_WITHOUT_GPU,
        "this torch ({torch}) is built for {rocm} and finds no AMD GPU",
        "For an AMD GPU, run `rocminfo`, check HIP_VISIBLE_DEVICES, and join the groups render and "
        f"video. For an NVIDIA GPU, install a torch build with CUDA; {LISTS}",
    ),
    Row(
        Cause.NO_GPU,
        "no NVIDIA driver was found on this machine",
        f"{WITHOUT_GPU} {WSL} {CONTAINER}",
        lambda e: e.driver.wsl,
    ),
    Row(
        Cause.NO_GPU,
        "no NVIDIA driver was found on this machine",
        f"{WITHOUT_GPU} {INSTALL} {CONTAINER}",
        lambda e: e.driver.cards is None,
    ),
    Row(
        Cause.NO_GPU,
        "no NVIDIA driver and no NVIDIA GPU were found on this machine",
        f"{WITHOUT_GPU} {INSTALL} {CONTAINER}",
    ),
    Row(
        Cause.NO_DRIVER,
        "{has_gpu}no NVIDIA driver is loaded",
        f"{WSL} {CONTAINER}",
        lambda e: e.driver.wsl,
    ),
    Row(
        Cause.NO_DRIVER,
        "{has_gpu}no NVIDIA driver is loaded",
        "Install the driver ({enough}; nvidia.com/drivers), restart, and check it with "
        f"`nvidia-smi`. {CONTAINER}",
        lambda e: not e.driver.installed,
    ),
    Row(
        Cause.NO_DRIVER,
        "{has_gpu}no NVIDIA driver is loaded",
        f"{NOT_LOADED} reinstall the driver.",
        lambda e: e.system != "Linux",
    ),
    Row(
        Cause.NO_DRIVER,
        "{has_gpu}no NVIDIA driver is loaded",
        f"{NOT_LOADED} run `sudo modprobe nvidia` and read its error: after a kernel update "
        "reinstall the driver; with Secure Boot sign or enroll the module.",
    ),
    Row(
        Cause.NOT_PASSED_ON,
        "{driver} is loaded, but there is no /dev/nvidia* here",
        f"{CONTAINER} Outside a container, run `sudo nvidia-smi` once.",
        lambda e: not e.driver.nodes,
    ),
    Row(Cause.NOT_PASSED_ON, NO_LIBRARY, f"{WSL} {CAPABILITIES}", lambda e: e.driver.wsl),
    Row(
        Cause.NOT_PASSED_ON,
        NO_LIBRARY,
        f"Outside a container, reinstall the driver. {CAPABILITIES}",
    ),
    # The driver must know the CUDA that compiled the PTX; other code needs its major version only.
    Row(
        Cause.DRIVER_TOO_OLD,
        PTX_TOO_OLD,
        f"{NEWER_CUDA}, or install a torch build for CUDA {{has}} or older; {LISTS}",
        lambda e: (
            "unsupported toolchain" in e.answer
            and OLDEST_CUDA <= parsed(e.supported_cuda) < parsed(e.build.cuda)
        ),
    ),
    Row(
        Cause.DRIVER_TOO_OLD,
        PTX_TOO_OLD,
        f"{NEWER_CUDA}.",
        lambda e: "unsupported toolchain" in e.answer,
    ),
    Row(
        Cause.DRIVER_TOO_OLD,
        "{driver} is too old for CUDA {needed}{supported}",
        f"Update the driver to {{enough}}, or install a torch build for CUDA {{has_major}}; {LISTS}",
        lambda e: OLDEST_CUDA[0] <= parsed(e.supported_cuda)[0] < parsed(e.build.cuda)[0],
    ),
    Row(
        Cause.DRIVER_TOO_OLD,
        "{driver} is too old for CUDA {needed}{supported}",
        "Update the driver to {enough}.",
    ),
    Row(
        Cause.DRIVER_MISMATCH,
        "the kernel module and the libraries of {driver} do not match",
        "Restart the machine: this happens after a driver update. If it persists, remove packages "
        "named cuda-compat and reinstall the driver.",
    ),
    Row(
        Cause.FORWARD_COMPATIBILITY,
        "the CUDA library is newer than the driver, and this GPU does not support that",
        "Restart the machine if the driver was just updated. Otherwise remove the package "
        "cuda-compat, or remove its folder from LD_LIBRARY_PATH, and update the driver to {enough}.",
    ),
    Row(
        Cause.NONE_SHOWN,
        "torch finds no GPU with CUDA_VISIBLE_DEVICES={visible}",
        "Run `nvidia-smi -L`. If it lists a GPU, unset CUDA_VISIBLE_DEVICES.",
        lambda e: e.visible is not None and not e.driver.table,
    ),
    Row(
        Cause.NONE_SHOWN,
        "{driver} is loaded, but shows no GPU",
        "Run `nvidia-smi -L`, and `sudo dmesg | grep NVRM` for the reason. If MIG mode is on, "
        "create an instance first: `sudo nvidia-smi mig -cgi 0 -C`.",
    ),
    # CUDA counts the fastest GPU first, nvidia-smi by PCI bus: only a UUID is the same for both.
    Row(
        Cause.HIDDEN,
        "CUDA_VISIBLE_DEVICES={visible} hides every GPU",
        "Unset CUDA_VISIBLE_DEVICES, or set it to a UUID that `nvidia-smi -L` prints (GPU-…).",
    ),
    Row(
        Cause.NO_PERMISSION,
        "this process may not use the NVIDIA driver",
        f"{CONTAINER} With SELinux, add `--security-opt=label=disable`.",
        lambda e: not e.driver.closed,
    ),
    Row(
        Cause.NO_PERMISSION,
        "this user may not open {closed}",
        "Join the group that owns the files (`ls -l /dev/nvidia*`, often video: "
        f"`sudo usermod -aG video $USER`) and log in again. {CONTAINER}",
    ),
    Row(
        Cause.NOT_INITIALIZED,
        "the NVSwitch fabric is not initialized",
        "Start the fabric manager: `sudo systemctl start nvidia-fabricmanager`.",
    ),
    Row(
        Cause.START_FAILED,
        "CUDA does not start: {answer}",
        "Run `nvidia-smi`. After the machine has slept, reload the module: `sudo modprobe -r "
        "nvidia_uvm && sudo modprobe nvidia_uvm`; otherwise restart the machine.",
    ),
    Row(
        Cause.FORKED,
        "this process was forked from one that uses CUDA",
        "Start a new process, or use the start method spawn.",
    ),
    Row(
        Cause.CARD_TOO_OLD,
        NO_KERNELS,
        "No supported torch runs on this GPU; use device cpu.",
        lambda e: e.capability is not None and e.capability < OLDEST_CARD,
    ),
    Row(
        Cause.CARD_TOO_OLD,
        NO_KERNELS,
        "Install a torch build for CUDA 12.6, the last with sm_50 to sm_70, and check "
        f"`torch.cuda.get_arch_list()`; {LISTS} Or use device cpu.",
        lambda e: e.capability is not None and e.capability < TURING,
    ),
    Row(
        Cause.CARD_TOO_OLD,
        NO_KERNELS,
        f"Install a torch build that has {{arch}}; {LISTS} Or use device cpu.",
    ),
    Row(
        Cause.CARD_TOO_NEW,
        NO_KERNELS,
        "Install a torch build for a newer CUDA (12.8 or newer for sm_100 and sm_120); "
        "https://pytorch.org/get-started/locally lists the builds.",
    ),
    Row(
        Cause.KERNEL_MISSING,
        "torch reports no kernel for {card}, although the build lists its architecture",
        "Reinstall torch. If the error persists, update the driver.",
    ),
    Row(
        Cause.OUT_OF_MEMORY,
        "cuBLAS does not start on {gpu}, usually because of full memory{used}",
        "End the processes that `nvidia-smi` lists, or choose another GPU (device cuda:N).",
        lambda e: "CUBLAS_STATUS_NOT_INITIALIZED" in e.answer,
    ),
    Row(
        Cause.OUT_OF_MEMORY,
        "the memory of {gpu} is full{used}",
        "End the processes that `nvidia-smi` lists, or choose another GPU (device cuda:N).",
    ),
    Row(
        Cause.BUSY,
        "{gpu} is in use by another process (compute mode {mode})",
        "End the process that `nvidia-smi` lists, choose another GPU (device cuda:N), or "
        f"{ALLOW_SHARING}",
        lambda e: e.mode.startswith("Exclusive"),
    ),
    Row(
        Cause.BUSY,
        "compute mode {mode} allows no process on {gpu}",
        f"Choose another GPU (device cuda:N), or {ALLOW_SHARING}",
        lambda e: e.mode == "Prohibited",
    ),
    Row(
        Cause.BUSY,
        "CUDA reports {gpu} as busy or unavailable",
        "Run `nvidia-smi`; check for other processes, MIG mode and faults.",
    ),
    Row(
        Cause.NO_SUCH_GPU,
        "torch sees {range}",
        "Use a device in this range, or device auto.",
        lambda e: e.visible is None,
    ),
    Row(
        Cause.NO_SUCH_GPU,
        "with CUDA_VISIBLE_DEVICES={visible}, torch sees {range}",
        "Use a device in this range, or run `unset CUDA_VISIBLE_DEVICES` to see all GPUs.",
    ),
    Row(
        Cause.FAULT,
        "{gpu} reports a fault: {fault}",
        f"{FAULT}, or the program has a bug.",
        lambda e: "launch failure" in e.answer or "illegal memory access" in e.answer,
    ),
    Row(Cause.FAULT, "{gpu} reports a fault: {fault}", f"{FAULT}."),
    Row(
        Cause.WRONG_RESULT,
        "{gpu} computes a {answer}",
        "Do not train on it. Restart the machine, update the driver, and try again.",
    ),
    Row(
        Cause.NO_ANSWER,
        "{gpu} gives {answer}",
        "Run `nvidia-smi`; if that does not answer either, restart the machine.",
    ),
    Row(
        Cause.MPS_NOT_BUILT,
        "this torch ({torch}) is built without MPS",
        f"Install a torch build for macOS on Apple silicon; {LISTS}",
        lambda e: e.system == "Darwin",
    ),
    Row(
        Cause.MPS_NOT_BUILT,
        "this torch ({torch}) is built without MPS",
        "It is available on macOS only: use device auto.",
    ),
    Row(
        Cause.MPS_NOT_AVAILABLE,
        "this Mac or its macOS does not offer MPS",
        "It needs macOS 14 or newer on Apple silicon; use device cpu.",
    ),
    Row(
        Cause.MPS_FAILED,
        "a matrix product on mps fails: {answer}",
        "Use device cpu, and update macOS and torch.",
    ),
    Row(
        Cause.UNKNOWN,
        "{answer}",
        "Run `nvidia-smi` and `sudo dmesg | grep -i nvidia`, and search for what they print.",
    ),
)


def row_for(cause: Cause, evidence: Evidence) -> Row:
    """The first row of a cause whose condition holds."""
    return next(row for row in ROWS if row.cause is cause and row.when(evidence))
