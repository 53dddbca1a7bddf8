"""This program as a process: starting it again, its streams, and what the system refuses it."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from mnist_cli.errors import Interrupted, MnistError, OutputError
from mnist_cli.own_source import blamed
from mnist_cli.packages import explain_import

RANK_MODULE = "mnist_cli.training.distributed.group"
"""Imported by the ranks of a run that several processes share, and by nobody else."""


def again(*words: str, module: str = "mnist_cli") -> list[str]:
    """The command that runs this program, or a module of it, in a process of its own.

    ``python -m`` would import what lies in the working directory before what is installed, and
    a stranger's ``typer.py`` may lie there; ``-P`` keeps it from that, unless this process itself
    looks there, as one started in a source tree does.
    """
    return [sys.executable, *([] if looks_here() else ["-P"]), "-m", module, *words]


def looks_here() -> bool:
    """Whether this process looks for modules in the working directory first."""
    return bool({"", str(Path.cwd())} & set(sys.path[:1]))


def run(
    *words: str,
    module: str = "mnist_cli",
    told: str = "",
    timeout: float | None = None,
    temporary: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run this program, or a module of it, in a process of its own to its end.

    Args:
        words: the command line.
        module: what is run.
        told: what it reads from stdin.
        timeout: seconds after which it is killed; None waits without limit.
        temporary: its folder for temporary files; what it leaves there is the caller's.

    Returns:
        Its exit code, and what it wrote to stdout and stderr, in UTF-8 on every system.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
    """
    return subprocess.run(
        again(*words, module=module),
        input=told,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **_temporary(temporary)},
        check=False,
        timeout=timeout,
    )


def _temporary(folder: Path | None) -> dict[str, str]:
    return {} if folder is None else dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))


def command_line(words: Sequence[str]) -> str:
    """Words as a user types them: quoted as the shells of this system expect it."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(words)
    return shlex.join(words)


class Termination(KeyboardInterrupt):
    """SIGTERM where nothing needs to be saved: unwinds as Ctrl-C does, past any `except`."""


class HeldImport(PathFinder):
    """Finds torch, and holds signals back while it is imported.

    Its C code begins by importing numpy, and passes over a KeyboardInterrupt there: half a numpy
    stayed behind, and what failed of it later was a traceback instead of exit code 130.
    """

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See :class:`importlib.machinery.PathFinder`: torch alone, whose import is then held."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(cls)
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def held(module: ModuleType) -> None:
                with signals_held():
                    run(module)

            spec.loader.exec_module = held  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Have SIGINT and SIGTERM wait until the context ends; a second SIGINT ends the process."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and came:
            os._exit(Interrupted.code)
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)


def ignore_signals() -> None:
    """Let SIGINT and SIGTERM change nothing from here on: what this process is for is done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end(code: int) -> NoReturn:
    """End the process; as one of several ranks without tidying up."""
    if RANK_MODULE in sys.modules:
        leave(code)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End without tidying up: threads of the ranks' connections can hang then, or abort."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def expected(error: BaseException) -> MnistError | None:
    """What no command has explained, as an error with a code of its own; None for a bug."""
    if isinstance(error, MnistError):
        return error
    if known := _shortage(error) or blamed(error) or explain_import(error):
        return known
    return explain(error) if isinstance(error, OSError) else None


def explain(error: OSError) -> OutputError:
    """An error of the system that no command has explained; without a path it was stdout's."""
    if error.filename is None and error.errno == errno.ENOENT:  # no folder for temporary files
        return OutputError(error.strerror or str(error))
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
