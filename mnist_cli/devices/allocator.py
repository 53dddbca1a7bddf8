"""What glibc does with memory that is freed: keep it, or give it back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""What its malloc.h calls M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD."""
KEPT, AHEAD, LARGE = 1 << 30, 1 << 26, 1 << 28
"""Bytes: how many free ones are kept, taken at once, and never worth keeping in one block."""
_LARGE_ONCE = 1 << 25
"""The largest such block that older versions allow."""


def settle_allocator(environment: Mapping[str, str] = os.environ) -> None:
    """Keep freed memory for what comes next; but give it back where address space is limited.

    Each batch frees what the next one needs. Left alone, glibc gives much of it back, and every
    page of it is mapped and cleared anew: half the time of an evaluation, a tenth of training's
    (docs/speed.md).

    Under a limit of address space (``ulimit -v``) what is kept in the heap is no use to those who
    map memory by themselves, as oneDNN does for its code: after running out there no batch fitted
    any more, of a single image even (10 of 95 tries), and torch could crash.

    Does nothing where the environment settles it (``MALLOC_…_``, ``GLIBC_TUNABLES``), and with
    another C library.
    """
    if sys.platform != "linux" or _settled(environment):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        set_to = ctypes.CDLL(None).mallopt
        if _address_space_is_limited():
            set_to(_MMAP_THRESHOLD, 1 << 20)
            return
        set_to(_MMAP_THRESHOLD, LARGE) or set_to(_MMAP_THRESHOLD, _LARGE_ONCE)
        set_to(_TRIM_THRESHOLD, KEPT)
        set_to(_TOP_PAD, AHEAD)


def _settled(environment: Mapping[str, str]) -> bool:
    named = any(name.startswith("MALLOC_") and name.endswith("_") for name in environment)
    return named or "glibc.malloc" in environment.get("GLIBC_TUNABLES", "")


def _address_space_is_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
