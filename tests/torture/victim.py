"""The program in a fork of the warm process for every batch of files, watched and kept small.

Each fork runs command lines one after the other, as ``mnist`` would, under a limit of memory and
with a hook that sees whatever Python executes, connects to or writes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from forked import Forked

MEGABYTE = 1 << 20
ALLOWED = 500 * MEGABYTE
"""Address space that a command may take above the warm program's; the system refuses more."""


@dataclass(frozen=True)
class End:
    """How a command ended: its exit code, or minus the signal that killed the process.

    ``seen`` lists the events that were forbidden; ``peak`` is the resident memory above that of
    the warm program, in bytes.
    """

    code: int
    out: str
    err: str
    seen: list[str]
    peak: int
    seconds: float

    @property
    def message(self) -> str:
        """The error on one line, as it was meant to be read."""
        return " ".join(self.err.split())

    def refused(self, *codes: int) -> bool:
        """Whether it ended with one of these codes, with a message, and did nothing else."""
        crashed = "Traceback" in self.err or not self.err.strip()
        return self.code in codes and not crashed and not self.seen


class Victim:
    """The program in ``folder``, which is all that it may write in.

    Args:
        folder: its working directory.
        prepare: Python to run before anything else.
        environment: added to this process's.
    """

    def __init__(self, folder: Path, prepare: str = "", **environment: str) -> None:
        self.folder = folder
        self._prepare = prepare
        own = {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self._environment = {**os.environ, **own, **environment}

    def run(
        self,
        *commands: Sequence[object],
        allowed: int = ALLOWED,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> list[End]:
        """Run commands one after the other, in one fork.

        A command that kills its fork has ended; those after it get a fork of their own.
        """
        ends: list[End] = []
        while len(ends) < len(commands):
            left = [[str(word) for word in command] for command in commands[len(ends) :]]
            process = Forked(
                *("watched:run_all", self._prepare, left, allowed),
                cwd=self.folder,
                env=self._environment | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            answers, _ = process.communicate()
            ends += [End(**json.loads(line)) for line in answers.splitlines()]
            if len(ends) < len(commands):
                ends.append(End(process.returncode, "", "", ["it died"], 0, 0.0))
        return ends
