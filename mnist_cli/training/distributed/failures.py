"""How the failure of a rank reaches the launcher: torchrun's error files. Imports no torch.

torchrun names a file for each rank in ``TORCHELASTIC_ERROR_FILE`` and shows its content.
:mod:`mnist_cli.training.distributed.launch` sets it to ``RANK.json``, and raises the error in that
file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cli.base.files import atomic_write
from mnist_cli.errors import MnistError, OutputError, RankError, Stopped, error_class

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


@dataclass(frozen=True)
class Failure:
    """Why a rank ended, in its own words."""

    rank: int
    kind: str
    message: str
    hint: str
    time: float

    @property
    def consequence(self) -> bool:
        """Whether it only reports that another rank, or the launcher, ended first."""
        return issubclass(error_class(self.kind), RankError | Stopped)

    def as_error(self) -> MnistError:
        """The rank's error, to be raised again."""
        return error_class(self.kind)(self.message, self.hint)


def write(error: BaseException, environment: Mapping[str, str] = os.environ) -> bool:
    """Write a failure to the launcher's file; False if no launcher reads one."""
    path = environment.get(ERROR_FILE)
    if not path:
        return False
    kind, message, hint = "internal", f"{type(error).__name__}: {error}", ""
    if isinstance(error, MnistError):
        kind, message, hint = error.kind, error.message, error.hint
    more = {"py_callstack": message, "timestamp": str(int(time.time()))}
    content = {"message": {"message": message, "extraInfo": more}, "kind": kind, "hint": hint}
    with contextlib.suppress(OutputError):  # the folder is gone, and with it the reader
        atomic_write(Path(path), json.dumps(content))
        return True
    return False


def read(folder: Path) -> list[Failure]:
    """The failures of this launcher's ranks, the earliest first."""
    failures = [_parse(path) for path in folder.glob("*.json")]
    return sorted(failures, key=lambda failure: (failure.time, failure.rank))


def _parse(path: Path) -> Failure:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Failure(
        rank=int(path.stem),
        kind=content["kind"],
        message=content["message"]["message"],
        hint=content["hint"],
        time=path.stat().st_mtime,
    )
