"""What this system knows about an NVIDIA driver and its cards. Imports no torch, never raises.

Each reader takes the path that it reads as an argument, for tests. A fact that is not available,
which is normal outside Linux, is empty or None.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.base.cores import text_of

TIMEOUT = 10.0
"""Seconds that nvidia-smi may take: it hangs on a card that has fallen off the bus."""

_FIELDS = ("name", "driver_version", "memory.used", "memory.total", "compute_mode", "uuid")


@dataclass(frozen=True)
class Card:
    """One line of nvidia-smi: memory in MiB as it prints it; ``mode`` is the compute mode."""

    name: str
    used: str = ""
    total: str = ""
    mode: str = ""
    uuid: str = ""


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver of this machine.

    Attributes:
        version: of the driver, such as ``580.65.06``; "" if none is loaded.
        cuda: the newest CUDA version that it supports, such as ``13.0``; "" if unknown.
        cards: number of NVIDIA cards on the PCI bus; None if unknown.
        nodes: the device files of the cards.
        closed: the device files that this user may not open.
        complaint: what nvidia-smi printed instead of a table; "" if it works or is not installed.
        table: one :class:`Card` per line of nvidia-smi.
        wsl: whether this is Windows Subsystem for Linux, whose driver belongs to Windows.
    """

    version: str = ""
    cuda: str = ""
    cards: int | None = None
    nodes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    complaint: str = ""
    table: tuple[Card, ...] = ()
    wsl: bool = False

    @property
    def loaded(self) -> bool:
        """Whether the driver is known to be loaded."""
        return bool(self.version)

    @property
    def installed(self) -> bool:
        """Whether the driver is installed but not loaded, by what nvidia-smi reports."""
        return "communicate with the NVIDIA driver" in self.complaint


def read_driver(proc: Path = Path("/proc"), dev: Path = Path("/dev")) -> Driver:
    """Everything about the driver; asks nvidia-smi, for at most :data:`TIMEOUT` seconds."""
    nodes = device_files(dev)
    wsl = in_wsl(proc, dev)
    table, version, complaint = ask_smi()
    return Driver(
        version=module_version(proc) or version,
        cuda=newest_cuda(),
        cards=None if wsl else cards_on_pci(),  # WSL shows no card on the bus
        nodes=nodes,
        closed=tuple(node for node in nodes if not os.access(node, os.R_OK | os.W_OK)),
        complaint=complaint,
        table=table,
        wsl=wsl,
    )


def in_wsl(proc: Path, dev: Path) -> bool:
    """Whether this is Windows Subsystem for Linux, or a container in it."""
    release = text_of(proc / "sys/kernel/osrelease")
    return "microsoft" in release.lower() or (dev / "dxg").exists()


def module_version(proc: Path = Path("/proc")) -> str:
    """The version of the kernel module that is loaded."""
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text_of(proc / "driver/nvidia/version"))
    return found[1] if found else ""


def device_files(dev: Path) -> tuple[str, ...]:
    """The files that a program opens to reach the cards; Windows Subsystem for Linux has one."""
    try:
        names = sorted(os.listdir(dev))  # noqa: PTH208
    except OSError:
        return ()
    wanted = re.compile(r"nvidia\d+|nvidiactl|nvidia-uvm|dxg")
    return tuple(str(dev / name) for name in names if wanted.fullmatch(name))


def cards_on_pci(sys_bus: Path = Path("/sys/bus/pci/devices")) -> int | None:
    """Number of NVIDIA display or compute cards, whether or not a driver is loaded."""
    try:
        return sum(
            text_of(device / "vendor") == "0x10de" and text_of(device / "class").startswith("0x03")
            for device in sys_bus.iterdir()
        )
    except OSError:
        return None


def newest_cuda() -> str:
    """The newest CUDA version that the driver supports, from its own library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    number = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return ""
    return "" if failed or number.value <= 0 else cuda_version(number.value)


def cuda_version(number: int) -> str:
    """A CUDA version as CUDA itself encodes it: 12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def parsed(cuda: str) -> tuple[int, int]:
    """``12.8`` as (12, 8); (0, 0) if the version is empty."""
    major, _, minor = cuda.partition(".")
    return int(major or 0), int(minor or 0)


def ask_smi(command: str = "nvidia-smi") -> tuple[tuple[Card, ...], str, str]:
    """The cards, the driver's version, and what nvidia-smi complains about."""
    program = shutil.which(command)
    if program is None:
        return (), "", ""
    query = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            query,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return (), "", f"nvidia-smi did not answer within {TIMEOUT:.0f} s"
    except OSError as error:
        return (), "", f"nvidia-smi cannot be run: {error.strerror}"
    return parse_smi(done.stdout, done.stderr, done.returncode)


def parse_smi(out: str, err: str, code: int) -> tuple[tuple[Card, ...], str, str]:
    """What :func:`ask_smi` returns, from what nvidia-smi printed and its exit code."""
    rows = [[cell.strip() for cell in line.split(",")] for line in out.splitlines()]
    rows = [row for row in rows if len(row) == len(_FIELDS)]
    if code or not rows:
        text = " ".join(f"{out}\n{err}".split())
        return (), "", text or f"nvidia-smi ended with code {code}"
    cards = tuple(Card(row[0], *row[2:]) for row in rows)
    return cards, rows[0][1], ""
