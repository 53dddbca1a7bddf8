"""How the kinds of devices differ. A new kind is a row of :data:`KINDS`.

torch itself answers what it can for every accelerator (``torch.accelerator``,
``torch.get_device_module``); the table holds the rest.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kind:
    """One kind of device.

    Attributes:
        float64: it computes in float64.
        fused: torch's optimisers have fused kernels for it.
        foreach: torch has kernels for lists of tensors.
        skips: the fused optimisers skip a step by a flag on the device, so that no step waits for
            a value from it.
        launch_bound: launching a small kernel takes longer than running it, so that larger ones
            are faster.
        pinned: copies from pinned memory are faster.
        fork_safe: a process that computes on it may fork workers.
        own_random: its random generator's state can be read and set for each device.
    """

    float64: bool = True
    fused: bool = False
    foreach: bool = True
    skips: bool = False
    launch_bound: bool = False
    pinned: bool = False
    fork_safe: bool = True
    own_random: bool = False


KINDS = {
    "cpu": Kind(fused=True),
    "cuda": Kind(
        fused=True, skips=True, launch_bound=True, pinned=True, fork_safe=False, own_random=True
    ),
    "mps": Kind(float64=False, foreach=False),
}


def kind_of(device: torch.device) -> Kind:
    """The row of a device; for an unknown kind, the values of most kinds."""
    return KINDS.get(device.type, Kind())


def sum_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which metrics are summed on the device: float64 if it computes in that."""
    return torch.float64 if kind_of(device).float64 else torch.float32


def rate_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which a captured step reads its learning rate from the device's memory.

    CUDA's fused optimisers read a float32, and MPS has no float64; the CPU's read Python's float.
    Steps taken one by one round their rate to it too, so that both give the same bits.
    """
    return torch.float64 if device.type == "cpu" else torch.float32


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work, as before reading a clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def empty_cache() -> None:
    """Return memory that torch holds unused on a GPU."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Peak memory of tensors on a GPU, in bytes; 0 for the CPU and if torch does not count."""
    module = torch.get_device_module(device)
    return module.max_memory_allocated(device) if hasattr(module, "max_memory_allocated") else 0


def random_state(device: torch.device) -> Tensor | None:
    """State (bytes,), uint8 on the CPU, of the device's random generator; None for the CPU's own."""
    if device.type == "cpu":
        return None
    state: Tensor = torch.get_device_module(device).get_rng_state(*_own(device))
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Restore what :func:`random_state` has read; not for the CPU."""
    torch.get_device_module(device).set_rng_state(state, *_own(device))


def _own(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if kind_of(device).own_random else ()


def random_state_kept(*devices: torch.device) -> AbstractContextManager[None]:
    """Restore the CPU's random generator at the end, and those of devices that allow it."""
    own = [device for device in devices if kind_of(device).own_random]
    return torch.random.fork_rng(own, device_type=own[0].type if own else "cuda")
