"""How a rank's failure reaches whoever started it: torchrun's error files. Imports no torch.

torchrun names a file to each rank, ``TORCHELASTIC_ERROR_FILE``, and shows what it finds there;
:mod:`mnist_cli.training.distributed.launch` reads the same files, and finds in them which error it
was.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cli.errors import MnistError, RankError, Stopped
from mnist_cli.training.distributed.rank_environment import write_whole

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


@dataclass(frozen=True)
class Failure:
    """Why a rank ended, in its own words."""

    rank: int
    code: int
    kind: str
    message: str
    hint: str
    time: float

    @property
    def consequence(self) -> bool:
        """Whether it tells only that another rank, or the launcher, had ended before."""
        return issubclass(self.error_class, RankError | Stopped)

    @property
    def error_class(self) -> type[MnistError]:
        """The class of the error that it was."""
        return next((one for one in _kinds(MnistError) if one.kind == self.kind), MnistError)

    def as_error(self) -> MnistError:
        """The error that it was, to be raised again."""
        return self.error_class(self.message, self.hint)


def _kinds(failure: type[MnistError]) -> Iterator[type[MnistError]]:
    yield failure
    for below in failure.__subclasses__():
        yield from _kinds(below)


def write(error: BaseException, environment: Mapping[str, str] = os.environ) -> bool:
    """Leave a failure where the launcher has asked for it; False where none has asked."""
    named = environment.get(ERROR_FILE)
    if not named:
        return False
    plain = {"code": MnistError.code, "kind": "internal", "hint": ""}
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, MnistError):
        plain = {"code": error.code, "kind": error.kind, "hint": error.hint}
        message = error.message
    with contextlib.suppress(OSError):  # the folder is gone: nobody is there to read it
        more = {"py_callstack": message, "timestamp": str(int(time.time()))}
        told = {"message": {"message": message, "extraInfo": more}, **plain}
        write_whole(Path(named), json.dumps(told))
        return True
    return False


def read(folder: Path) -> list[Failure]:
    """What the ranks of this machine have left under ``folder``, the earliest first.

    A file that does not say what ours do, as one that is being written, is passed over.
    """
    found = []
    for path in folder.rglob("error.json"):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            found.append(_parse(path))
    return sorted(found, key=lambda failure: (failure.time, failure.rank))


def _parse(path: Path) -> Failure:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Failure(
        rank=int(path.parent.name),
        code=told["code"],
        kind=told["kind"],
        message=told["message"]["message"],
        hint=told["hint"],
        time=path.stat().st_mtime,
    )
