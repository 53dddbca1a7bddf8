"""What :mod:`victim` runs in a fork: commands, one by one, and what each of them did."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from mnist_cli import cli

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "subprocess.Popen",
    "pty.spawn",
    "pickle.find_class",
    "socket.__new__",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "ctypes.dlopen",
    "webbrowser.open",
)
ITSELF = ("ctypes.dlopen", (None,))
"""The C library that is there already."""
WRITES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate")
KEPT = 20_000

seen: list[str] = []
watching = False
folder = Path()


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: note what executes, connects, or writes outside the folder."""
    if not watching:
        return
    if event in FORBIDDEN and (event, arguments) != ITSELF:
        seen.append(f"{event} {str(arguments)[:200]}")
    elif event in WRITES or (event == "open" and _writes(arguments)):
        path = arguments[0]
        if event == "open" and isinstance(path, str) and Path(path).is_dir():
            path = f"{path}/a file without a name"  # as tempfile opens one
        if isinstance(path, str | bytes | os.PathLike) and not _inside(os.fsdecode(path)):
            seen.append(f"{event} {str(arguments)[:200]}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _inside(path: str) -> bool:
    whole = os.path.abspath(path)  # noqa: PTH100
    return whole in ("/dev/null", "/dev/tty") or whole.startswith(f"{folder}/")


def resident(field: str) -> int:
    """``VmRSS``, ``VmHWM`` (its peak) or ``VmSize`` of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


@contextmanager
def watched() -> Iterator[None]:
    global watching
    seen.clear()
    watching = True
    try:
        yield
    finally:
        watching = False


def run(arguments: list[str]) -> dict[str, Any]:
    """Run one command as ``mnist`` would, and say how it ended."""
    out, err = io.StringIO(), io.StringIO()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is this command's
    before, began = resident("VmRSS"), time.monotonic()
    with redirect_stdout(out), redirect_stderr(err), watched():
        try:
            code = cli.run(arguments)
        except BaseException:  # what `mnist` would die of, SystemExit included
            traceback.print_exc()
            code = 1
    return {
        "code": code,
        "out": out.getvalue()[:KEPT],
        "err": err.getvalue()[:KEPT],
        "seen": seen[:10],
        "peak": max(resident("VmHWM") - before, 0),
        "seconds": time.monotonic() - began,
    }


def run_all(prepare: str, commands: list[list[str]], address_space: int) -> None:
    """Run commands; a line an answer, so that what came before a crash is known."""
    global folder
    folder = Path.cwd().resolve()
    exec(prepare)
    torch.set_num_threads(1)
    sys.addaudithook(watch)
    limit = resident("VmSize") + address_space
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a command prints past Python must not get between the answers
    for arguments in commands:
        print(json.dumps(run(arguments)), file=answers, flush=True)
