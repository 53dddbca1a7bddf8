"""The cores and the memory that this process may use, by affinity and by control group.

A container sees all cores of its host. Only the files of its control group show its limit:
version 2 has one tree, version 1 a tree for each controller.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60
"""A limit of at least this many bytes means none: version 1 writes the largest multiple of a page."""


def cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_in_words() -> str:
    """The machine's memory; "unknown" if the system does not report it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def cpu_limit(cgroups: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> float | None:
    """The number of cores that the control group allows, such as 1.5; None without a limit."""
    limits = []
    for folder in _folders("cpu", cgroups, proc):
        quota, _, period = text_of(folder / "cpu.max").partition(" ")
        if not period:
            quota = text_of(folder / "cpu.cfs_quota_us")
            period = text_of(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(cgroups: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int | None:
    """The bytes of memory that the control group allows; None without a limit."""
    limits = []
    for folder in _folders("memory", cgroups, proc):
        text = text_of(folder / "memory.max") or text_of(folder / "memory.limit_in_bytes")
        if text.isdecimal() and int(text) < UNLIMITED:
            limits.append(int(text))
    return min(limits, default=None)


def usable_cores() -> int:
    """The number of threads that can run at once here; at least 1."""
    limit = cpu_limit()
    return cores() if limit is None else max(1, min(cores(), math.ceil(limit)))


def excess_threads(threads: int) -> str:
    """The warning about more threads than cores; empty if there are enough. 0 is torch's choice."""
    available = usable_cores()
    if threads <= available:
        return ""
    there = "1 core" if available == 1 else f"{available} cores"
    return f"{threads} threads on {there} can be many times slower; use {available} or fewer"


BUSY = 0.5
"""Measurements suffer if other programs use more than this share of the cores."""


def load_warning() -> str:
    """The warning about other programs on a machine to measure on; empty if it is idle enough."""
    if not hasattr(os, "getloadavg"):  # Windows
        return ""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return ""
    available = usable_cores()
    if load <= BUSY * available:
        return ""
    there = "1 core" if available == 1 else f"{available} cores"
    return (
        f"the machine is busy: its load average is {load:.1f} on {there}, so seconds will be too "
        "long and vary; measure when it is idle"
    )


def _folders(controller: str, cgroups: Path, proc: Path) -> Iterator[Path]:
    """The process's control group and those above it, in the tree of either version."""
    for line in text_of(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        for root in [cgroups / controllers, cgroups / controller] if controllers else [cgroups]:
            group = Path(path.lstrip("/"))
            for folder in (group, *group.parents):
                yield root / folder


def text_of(path: Path) -> str:
    """The stripped text of a system file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
