"""Cores and memory that this process may use, read from control groups made for each test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_cli.base import cores

MAX_V1 = "9223372036854771712"
"""What version 1 writes where there is no limit."""


GROUPS: dict[str, tuple[list[str], dict[str, str], float | None, int | None]] = {
    "none": ([], {}, None, None),
    "a container of version 2": (
        *(["0::/"], {"cpu.max": "150000 100000", "memory.max": "536870912"}, 1.5, 2**29),
    ),
    "the tightest of several": (
        ["0::/a.slice/b.scope"],
        {
            **{"a.slice/cpu.max": "200000 100000", "a.slice/b.scope/cpu.max": "max 100000"},
            **{"a.slice/memory.max": "1000000", "a.slice/b.scope/memory.max": "max"},
        },
        *(2.0, 1_000_000),
    ),
    "version 1, with a tree for each controller": (
        ["4:memory:/job", "3:cpu,cpuacct:/job", "0::/"],
        {
            **{"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"},
            "memory/job/memory.limit_in_bytes": "4096",
        },
        *(4.0, 4096),
    ),
    "version 1 without a limit": (
        ["4:memory:/", "3:cpu,cpuacct:/"],
        {
            **{"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            "memory/memory.limit_in_bytes": MAX_V1,
        },
        *(None, None),
    ),
    **{
        f"nonsense: {text!r}": (["0::/"], {"cpu.max": text}, None, None)
        for text in ("", "max", "100000", "abc def", "100000 0")
    },
}


@pytest.mark.parametrize("case", GROUPS)
def test_limits_of_control_groups(tmp_path: Path, case: str) -> None:
    membership, files, cpu, memory = GROUPS[case]
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    for path, text in {
        proc / "self/cgroup": "\n".join(membership),
        **{cgroups / name: content for name, content in files.items()},
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cores.cpu_limit(cgroups, proc) == cpu
    assert cores.memory_limit(cgroups, proc) == memory


@pytest.mark.parametrize(
    ("limit", "affinity", "usable"), [(None, 8, 8), (1.5, 8, 2), (0.5, 8, 1), (16.0, 2, 2)]
)
def test_the_smaller_of_affinity_and_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, affinity: int, usable: int
) -> None:
    monkeypatch.setattr(cores, "cpu_limit", lambda: limit)
    monkeypatch.setattr(cores, "cores", lambda: affinity)
    assert cores.usable_cores() == usable
    assert cores.excess_threads(usable) == ""
    assert cores.excess_threads(0) == ""
    assert f"use {usable} or fewer" in cores.excess_threads(usable + 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.cores() == cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores.cores() == len(before)


@pytest.mark.parametrize(
    ("load", "available", "busy"),
    [(0.1, 2, False), (1.0, 2, False), (1.1, 2, True), (5, 64, False)],
)
def test_a_busy_machine_is_told(
    monkeypatch: pytest.MonkeyPatch, load: float, available: int, busy: bool
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0), raising=False)
    monkeypatch.setattr(cores, "usable_cores", lambda: available)
    warning = cores.load_warning()
    assert bool(warning) == busy
    assert not busy or f"load average is {load:.1f} on {available} cores" in warning


def test_a_system_without_a_load_average_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert cores.load_warning() == ""
