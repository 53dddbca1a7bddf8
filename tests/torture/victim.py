"""The program in a warm process, forked for every batch of files, watched and kept small.

A fresh process costs seconds of imports. :class:`Victim` starts one, which imports everything and
then forks: each fork runs command lines one after the other, as ``mnist`` would, under a limit of
memory and with a hook that sees whatever Python executes, connects to or writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

MEGABYTE = 1 << 20
ALLOWED = 500 * MEGABYTE
"""What a command may take above the warm program: address space, so that the system says no."""


@dataclass(frozen=True)
class End:
    """How a command ended: its code, or minus the signal that killed the process.

    ``seen`` are the events that should not have been; ``peak`` is how much memory was resident
    above the warm program's, in bytes.
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
    """A warm program in ``folder``, which is all that it may write in.

    Args:
        folder: its working directory.
        prepare: a line of Python to run before anything else.
        environment: added to this process's.
    """

    def __init__(self, folder: Path, prepare: str = "", **environment: str) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victim_process.py")), prepare],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **self._own(), **environment},
        )

    def _own(self) -> dict[str, str]:
        """Where to put temporary files, and how wide and how parallel to be."""
        return {"TMPDIR": str(self.folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(
        self,
        *commands: Sequence[object],
        allowed: int = ALLOWED,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> list[End]:
        """Run commands one after the other, in a fork of the warm process.

        A command that kills its fork has ended; those after it get a fork of their own.
        """
        ends: list[End] = []
        while len(ends) < len(commands):
            left = [[str(word) for word in command] for command in commands[len(ends) :]]
            ends += self._ask(
                {"commands": left, "address_space": allowed, "environment": dict(environment)}
            )
        return ends

    def _ask(self, request: dict[str, Any]) -> list[End]:
        """The ends of the first commands: all, or as many as came before the process died."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process itself has died"
        return [End(**end) for end in json.loads(answer)]

    def close(self) -> None:
        """End the warm process."""
        self._process.communicate()
