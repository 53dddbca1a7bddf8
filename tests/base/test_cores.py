"""Cores and memory that this process may use, read from control groups made for each test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_cli.base import cores

MAX_V1 = "9223372036854771712"
"""What version 1 writes where there is no limit."""


class Groups:
    """A /proc and a /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"

    def membership(self, *lines: str) -> None:
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text("\n".join(lines) + "\n")

    def write(self, place: str, text: str) -> None:
        path = self.cgroups / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    @property
    def cpu(self) -> float | None:
        return cores.cpu_limit(self.cgroups, self.proc)

    @property
    def memory(self) -> int | None:
        return cores.memory_limit(self.cgroups, self.proc)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_no_control_groups_are_no_limit(groups: Groups) -> None:
    assert (groups.cpu, groups.memory) == (None, None)


def test_a_container_of_version_2(groups: Groups) -> None:
    groups.membership("0::/")
    groups.write("cpu.max", "150000 100000")
    groups.write("memory.max", "536870912")
    assert (groups.cpu, groups.memory) == (1.5, 2**29)


def test_the_tightest_group_around_counts(groups: Groups) -> None:
    groups.membership("0::/a.slice/b.scope")
    groups.write("a.slice/cpu.max", "200000 100000")
    groups.write("a.slice/b.scope/cpu.max", "max 100000")
    groups.write("a.slice/memory.max", "1000000")
    groups.write("a.slice/b.scope/memory.max", "max")
    assert (groups.cpu, groups.memory) == (2.0, 1_000_000)


def test_version_1_has_a_tree_for_each_controller(groups: Groups) -> None:
    groups.membership("4:memory:/job", "3:cpu,cpuacct:/job", "0::/")
    groups.write("cpu/job/cpu.cfs_quota_us", "400000")
    groups.write("cpu/job/cpu.cfs_period_us", "100000")
    groups.write("memory/job/memory.limit_in_bytes", "4096")
    assert (groups.cpu, groups.memory) == (4.0, 4096)


def test_no_limit_as_version_1_writes_it(groups: Groups) -> None:
    groups.membership("4:memory:/", "3:cpu,cpuacct:/")
    groups.write("cpu,cpuacct/cpu.cfs_quota_us", "-1")
    groups.write("cpu,cpuacct/cpu.cfs_period_us", "100000")
    groups.write("memory/memory.limit_in_bytes", MAX_V1)
    assert (groups.cpu, groups.memory) == (None, None)


@pytest.mark.parametrize("text", ["", "max", "100000", "abc def", "100000 0"])
def test_what_makes_no_sense_is_no_limit(groups: Groups, text: str) -> None:
    groups.membership("0::/")
    groups.write("cpu.max", text)
    assert groups.cpu is None


@pytest.mark.parametrize(
    ("limit", "affinity", "usable"), [(None, 8, 8), (1.5, 8, 2), (0.5, 8, 1), (16.0, 2, 2)]
)
def test_the_smaller_of_affinity_and_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, affinity: int, usable: int
) -> None:
    monkeypatch.setattr(cores, "cpu_limit", lambda: limit)
    monkeypatch.setattr(cores, "cores", lambda: affinity)
    assert cores.usable_cores() == usable
    assert cores.excess(usable) == ""
    assert cores.excess(0) == ""
    assert f"use {usable} or fewer" in cores.excess(usable + 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.cores() == cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores.cores() == len(before)
