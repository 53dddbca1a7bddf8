"""This program as a process: starting it again, its streams and its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mnist_cli.errors import OutputError

if TYPE_CHECKING:
    import subprocess

OWN_THREAD = "mnist-"
"""Prefix of the names of this program's threads for which the interpreter waits at its end."""

_leaves_at_end = False


def again(*words: str, module: str = "mnist_cli") -> list[str]:
    """The command that runs this program, or a module of it, in a new process.

    ``python -m`` imports from the working directory first, where a stranger's ``typer.py`` may
    lie. ``-P`` prevents that, unless this process itself looks there (see :func:`looks_here`).
    """
    return [sys.executable, *([] if looks_here() else ["-P"]), "-m", module, *words]


def restart_in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale is ASCII only, such as C.

    Python turns the mode on by itself unless PYTHONUTF8=0 forbids it. Without it no file may be
    named "ü", and a checkpoint would hold a mangled name.
    """
    if os.name == "posix" and sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def looks_here() -> bool:
    """Whether this process imports from the working directory first, as in a source tree."""
    return bool({"", str(Path.cwd())} & set(sys.path[:1]))


def run(
    *words: str,
    module: str = "mnist_cli",
    stdin: str = "",
    timeout: float | None = None,
    temporary: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run this program, or a module of it, in a new process, and wait for its end.

    Args:
        words: the command line.
        module: the module to run.
        stdin: the text that the process reads from stdin.
        timeout: seconds after which the process is killed; None waits without limit.
        temporary: folder for the process's temporary files, which the caller deletes.

    Returns:
        The exit code, and what the process wrote to stdout and stderr, in UTF-8 on every system.

    Raises:
        subprocess.TimeoutExpired: the process did not end in time.
    """
    import subprocess

    environment = {"PYTHONIOENCODING": "utf-8"}
    if temporary is not None:
        environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    return subprocess.run(
        again(*words, module=module),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | environment,
        check=False,
        timeout=timeout,
    )


def check_working_directory() -> None:
    """Check that the working directory exists; without one, torch's libraries end the process.

    Raises:
        OutputError: it was deleted, or cannot be reached.
    """
    try:
        Path.cwd()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        raise OutputError(
            f"the working directory is not available: {'deleted' if gone else error.strerror}",
            "Change to another with cd, and try again.",
        ) from error


def command_line(words: Sequence[str]) -> str:
    """Words as a user types them, quoted for the shells of this system."""
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)


def leave_at_end() -> None:
    """Make :func:`end` skip the interpreter's cleanup; every rank of a shared run calls this."""
    global _leaves_at_end
    _leaves_at_end = True


def end(code: int) -> NoReturn:
    """End the process; after :func:`leave_at_end` without cleanup.

    Otherwise, a stderr that cannot be written would change the code to 120.
    """
    if _leaves_at_end:
        leave(code)
    try:
        sys.stderr.flush()
    except OSError:
        _abandon("stderr")
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End without cleanup, in which threads of the ranks' connections can hang or abort."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def stdout_discarded() -> Iterator[None]:
    """Discard what C libraries write to stdout, which may hold one JSON document only."""
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
    """Redirect stdout to the null device, so that the interpreter's last flush cannot fail."""
    _abandon("stdout")


def _abandon(name: str) -> None:
    """Redirect a stream to the null device.

    Since Python 3.13 the stream would report its own last flush when it is collected: it is closed.
    """
    abandoned = getattr(sys, name)
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    with contextlib.suppress(OSError):
        abandoned.close()
