"""This program as a process: starting it again, its streams, and what the system refuses it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mnist_cli.errors import MnistError, OutputError
from mnist_cli.own_source import blamed


def again(*words: str, module: str = "mnist_cli") -> list[str]:
    """The command that runs this program, or a module of it, in a process of its own.

    ``python -m`` would import what lies in the working directory before what is installed, and
    a stranger's ``typer.py`` may lie there; ``-P`` keeps it from that, unless this process itself
    looks there, as one started in a source tree does.
    """
    looks_here = bool({"", str(Path.cwd())} & set(sys.path[:1]))
    return [sys.executable, *([] if looks_here else ["-P"]), "-m", module, *words]


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def expected(error: BaseException) -> MnistError | None:
    """What no command has explained, as an error with a code of its own; None for a bug."""
    if isinstance(error, MnistError):
        return error
    if known := _shortage(error) or blamed(error):
        return known
    return explain(error) if isinstance(error, OSError) else None


def explain(error: OSError) -> OutputError:
    """An error of the system that no command has explained; without a path it was stdout's."""
    if error.filename is None:
        return OutputError(f"cannot write the output: {error.strerror or error}")
    return OutputError(f"cannot use {error.filename}: {error.strerror}")


def _shortage(error: BaseException) -> MnistError | None:
    """What no command has explained of memory that ran out; None for any other error."""
    if "torch" not in sys.modules and not isinstance(error, MemoryError):
        return None
    from mnist_cli.training.memory import explained, is_out_of_memory

    if not is_out_of_memory(error):
        return None
    shortage = explained(error, 0)
    shortage.__cause__ = error  # for --debug
    return shortage
