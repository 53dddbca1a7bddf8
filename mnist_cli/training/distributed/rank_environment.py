"""Which rank this process is, as torchrun says it in the environment. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from mnist_cli.base.files import replace
from mnist_cli.errors import UsageError

STATUS = "MNIST_CLI_RANKS_STATUS"
"""Names the file in which rank 0 tells :mod:`mnist_cli.training.distributed.launch` of the run."""


@dataclass(frozen=True)
class Place:
    """Rank ``rank`` of ``size``, and the ``local_rank``-th of ``local_size`` on this machine.

    The ranks meet at ``address``. ``status`` is empty unless ``mnist train --nproc`` started them.
    ``parent`` is the process whose end ends the ranks; 0 where a starter may end before them.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    status: str = ""
    parent: int = 0

    @property
    def on_one_machine(self) -> bool:
        """Whether all ranks are here."""
        return self.size == self.local_size

    @property
    def command(self) -> str:
        """What to type in front of ``--resume``, to start as many ranks again."""
        if self.status:
            return f"mnist train --nproc {self.size}"
        if self.on_one_machine:
            return f"torchrun --nproc-per-node={self.size} -m mnist_cli train"
        return "torchrun, on each machine as before, … -m mnist_cli train"

    def register(self) -> bool:
        """Tell ``mnist train --nproc``, where that started this rank, which process it is.

        Returns:
            False where it is gone already: then nobody waits for this rank.
        """
        if not self.status:
            return True
        path = Path(self.status).with_name(f"{self.rank}.pid")
        with contextlib.suppress(OSError):
            write_whole(path, str(os.getpid()))
        return path.parent.is_dir()  # it went with the launcher


def place_of(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place among the ranks; None where it trains alone.

    Ask early: whoever started the ranks is known only as long as it lives.

    Raises:
        UsageError: the environment says half of it, or what cannot be.
    """
    if not (environment.get("RANK") or environment.get("WORLD_SIZE")):
        return None
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not 0 <= rank < size:
        raise UsageError(
            f"the environment says RANK={rank} and WORLD_SIZE={size}, which cannot be: ranks count "
            "from 0",
            _WAY_OUT,
        )
    if size == 1:
        return None
    check_system()
    host, port = _required(environment, "MASTER_ADDR"), _number(environment, "MASTER_PORT")
    here = _is_loopback(host)  # so all ranks are on this machine
    local_rank = _number(environment, "LOCAL_RANK", str(rank) if here else "")
    local_size = _number(environment, "LOCAL_WORLD_SIZE", str(size) if here else "")
    status = environment.get(STATUS, "")
    launched = status or environment.get("TORCHELASTIC_RUN_ID")
    parent = os.getppid() if launched else 0
    return Place(rank, size, local_rank, local_size, f"{host}:{port}", status, parent)


def check_system() -> None:
    """Refuse ranks where signals and process groups do not exist.

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


@dataclass(frozen=True)
class Status:
    """What rank 0 tells the launcher: how to resume, and whether all is done and told."""

    resume: str = ""
    done: bool = False

    def write(self, place: Place | None) -> None:
        """Leave it where ``mnist train --nproc`` reads it; nothing where that started no ranks."""
        if place is None or not place.status or place.rank:
            return
        with contextlib.suppress(OSError):  # the launcher is gone
            write_whole(Path(place.status), json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Status:
        """What was left there last."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else cls()


def write_whole(path: Path, text: str) -> None:
    """Write a file that whoever reads it finds whole or not at all."""
    half = path.with_name(f"{path.name}.half")
    half.write_text(text, encoding="utf-8")
    replace(half, path)


_WAY_OUT = "Start the ranks with torchrun or mnist train --nproc, or unset RANK and WORLD_SIZE."


def _required(environment: Mapping[str, str], name: str, default: str = "") -> str:
    value = environment.get(name) or default
    if not value:
        there = [key for key in ("RANK", "WORLD_SIZE") if environment.get(key)]
        raise UsageError(
            f"the environment has {' and '.join(there)} of a run by several processes, "
            f"but not {name}",
            _WAY_OUT,
        )
    return value


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    value = _required(environment, name, default)
    if not value.isdecimal():
        raise UsageError(f"the environment says {name}={value}, which is no number", _WAY_OUT)
    return int(value)
