"""What becomes of memory that is freed, as the system sees it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks glibc")

SCRIPT = """
import resource, sys, torch
from mnist_cli.devices.allocator import settle_allocator

def size():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["VmSize"].split()[0]) / 1024

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    large = [torch.ones(5 << 18) for _ in range(50)]
    # A small block behind them keeps them in the heap, where they were put there.
    return torch.ones(1000) if limited else None

torch.set_num_threads(1)
torch.ones(1000)
before = size()
limited = sys.argv[1] == "limited"
if limited:
    room = int(before + 500) << 20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
settle_allocator()
before, so_far = size(), faults()
torch.ones(30 << 18)  # freed, glibc would take blocks as large as this from the heap from now on
kept = [work() for _ in range(4)]
print(size() - before, (faults() - so_far) / 256)
"""


SECOND_THREAD = """
import resource, sys, threading, torch
from mnist_cli.devices.allocator import settle_allocator

def size():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["VmPeak"].split()[0]) / 1024

if sys.argv[1] == "limited":
    room = int(size() + 1000) << 20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
settle_allocator()
before = size()
thread = threading.Thread(target=lambda: torch.ones(1000) + 1)
thread.start()
thread.join()
print(size() - before)
"""
ARENA = 64
"""MiB of the heap that glibc reserves for a further thread, on 64-bit systems."""


def left_and_mapped(limit: str = "none", **environment: str) -> tuple[float, float]:
    """MiB that the process keeps after four rounds of 250 MiB each, and that they mapped."""
    chosen = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    command = [sys.executable, "-c", SCRIPT, limit]
    done = subprocess.run(
        command, env={**chosen, **environment}, capture_output=True, text=True, check=True
    )
    left, mapped = done.stdout.split()
    return float(left), float(mapped)


def test_what_is_freed_is_kept_for_what_comes_next() -> None:
    """What is kept is mapped once, so at most what the process has grown by is mapped.

    One round alone says little: where glibc places its blocks, a round may need new pages.
    """
    left, mapped = left_and_mapped()
    assert left > 200
    assert mapped < left


def test_it_is_given_back_where_address_space_is_limited() -> None:
    left, mapped = left_and_mapped("limited")
    assert left < 5
    assert mapped > 4 * 200


def test_a_further_thread_reserves_no_heap_where_address_space_is_limited() -> None:
    grown = {
        limit: float(subprocess.check_output([sys.executable, "-c", SECOND_THREAD, limit]))
        for limit in ("none", "limited")
    }
    assert grown["none"] >= ARENA
    assert grown["limited"] < ARENA


def test_the_environment_has_the_last_word() -> None:
    for settled in (
        {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)},
        {"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={1 << 20}"},
    ):
        assert left_and_mapped(**settled)[1] > 4 * 200
