"""Which rank this process is, read from the environment as torchrun sets it. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from mnist_cli.base.files import atomic_write
from mnist_cli.errors import OutputError, UsageError

FOLDER, LAUNCHER = "MNIST_CLI_RANKS_FOLDER", "MNIST_CLI_RANKS_LAUNCHER"
"""Variables of :mod:`mnist_cli.training.distributed.launch`: its folder and its process id."""


@dataclass(frozen=True)
class RankPlace:
    """Rank ``rank`` of ``size``, and the ``local_rank``-th of ``local_size`` on this machine.

    The ranks meet at ``address``: a file of ``folder`` if our own launcher started them; otherwise
    ``folder`` is empty. When the process ``parent`` ends, the ranks end too; it is 0 if the
    process that started them may end before them.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    folder: str = ""
    parent: int = 0

    @property
    def on_one_machine(self) -> bool:
        """Whether all ranks run on this machine."""
        return self.size == self.local_size

    def write_resume(self, command: str) -> None:
        """Leave the command that resumes the run to our launcher, if it started the ranks."""
        if self.folder and self.rank == 0:
            with contextlib.suppress(OutputError):  # the launcher is gone
                atomic_write(resume_file(Path(self.folder)), command)


def rank_place_of(environment: Mapping[str, str] = os.environ) -> RankPlace | None:
    """This process's place among the ranks; None if it trains alone.

    Call it early: the launcher's process id is known only while the launcher lives.

    Raises:
        UsageError: variables are missing or inconsistent.
    """
    if not (environment.get("RANK") or environment.get("WORLD_SIZE")):
        return None
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not 0 <= rank < size:
        raise UsageError(
            f"the environment has RANK={rank} and WORLD_SIZE={size}, but ranks count from 0 to "
            "WORLD_SIZE - 1",
            _WAY_OUT,
        )
    if size == 1:
        return None
    check_system()
    if folder := environment.get(FOLDER, ""):
        parent = _number(environment, LAUNCHER)
        return RankPlace(rank, size, rank, size, str(Path(folder, "store")), folder, parent)
    host, port = _required(environment, "MASTER_ADDR"), _number(environment, "MASTER_PORT")
    here = _is_loopback(host)  # so all ranks are on this machine
    local_rank = _number(environment, "LOCAL_RANK", str(rank) if here else "")
    local_size = _number(environment, "LOCAL_WORLD_SIZE", str(size) if here else "")
    parent = os.getppid() if environment.get("TORCHELASTIC_RUN_ID") else 0
    return RankPlace(rank, size, local_rank, local_size, f"{host}:{port}", parent=parent)


def check_system() -> None:
    """Refuse ranks on a system without Unix signals and sessions.

    Raises:
        UsageError: on Windows.
    """
    if sys.platform == "win32":
        raise UsageError(
            "several processes cannot share a run on Windows",
            "Train with one process, or use the Windows Subsystem for Linux.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def resume_file(folder: Path) -> Path:
    """The file in which rank 0 leaves the command that resumes the run."""
    return folder / "resume"


_WAY_OUT = "Start the ranks with a launcher such as torchrun, or unset RANK and WORLD_SIZE."


def _required(environment: Mapping[str, str], name: str, default: str = "") -> str:
    value = environment.get(name) or default
    if not value:
        there = [key for key in ("RANK", "WORLD_SIZE") if environment.get(key)]
        raise UsageError(
            f"the environment sets {' and '.join(there)}, as for a run by several processes, "
            f"but not {name}",
            _WAY_OUT,
        )
    return value


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    value = _required(environment, name, default)
    if not value.isdecimal():
        raise UsageError(f"the environment has {name}={value}, which is not a number", _WAY_OUT)
    return int(value)
