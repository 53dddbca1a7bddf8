"""This program as a process: starting it again, its signals, its streams and its end."""

from __future__ import annotations

import contextlib
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

from mnist_cli.errors import Interrupted

_leaves_at_end = False


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


def leave_at_end() -> None:
    """Make :func:`end` leave without tidying up; every rank of a shared run calls this."""
    global _leaves_at_end
    _leaves_at_end = True


def end(code: int) -> NoReturn:
    """End the process; after :func:`leave_at_end` without tidying up."""
    if _leaves_at_end:
        leave(code)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End without tidying up: threads of the ranks' connections can hang then, or abort."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def stdout_discarded() -> Iterator[None]:
    """Discard what libraries below Python write to stdout, where ``--json`` has its one document."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
