"""Configures what glibc does with freed memory: keep it, or return it to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from functools import lru_cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD and M_ARENA_MAX of glibc's malloc.h."""
KEPT, AHEAD, LARGE = 1 << 30, 1 << 26, 1 << 28
"""Bytes to keep free and to request at once, and the size from which a freed block is returned."""
_LARGE_ONCE = 1 << 25
"""The largest value of LARGE that older versions of glibc accept, in bytes."""


def settle_allocator() -> None:
    """Keep freed memory for the next batch, unless address space is limited (``ulimit -v``).

    Each batch frees memory that the next one needs. By default, glibc returns much of it, and the
    system maps and clears every page again. This takes half the time of an evaluation, and a tenth
    of training's (docs/speed.md).

    If address space is limited, memory kept by the heap is lost to libraries that map their own, as
    oneDNN does for its code. After running out, not even a batch of one image fitted (10 of 95
    tries), and torch could crash. The same holds for the heap of 64 MiB that glibc reserves for
    each further thread, so all threads share one heap.

    Does nothing if the environment configures it (``MALLOC_…_``, ``GLIBC_TUNABLES``), or with
    another C library.
    """
    if sys.platform == "linux":
        import resource

        _settle(limited=resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY)


@lru_cache(maxsize=1)  # glibc keeps its last settings
def _settle(*, limited: bool) -> None:
    if _configured():
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        set_to = ctypes.CDLL(None).mallopt
        if limited:
            set_to(_MMAP_THRESHOLD, 1 << 20)
            set_to(_ARENA_MAX, 1)
            return
        set_to(_MMAP_THRESHOLD, LARGE) or set_to(_MMAP_THRESHOLD, _LARGE_ONCE)
        set_to(_TRIM_THRESHOLD, KEPT)
        set_to(_TOP_PAD, AHEAD)


def _configured() -> bool:
    named = any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
    return named or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
