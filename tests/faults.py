"""The program in a fork, and faults that happen to it from inside its own process."""

from __future__ import annotations

import atexit
import builtins
import dataclasses
import itertools
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

Function = Callable[..., Any]


def program(arguments: list[str], faults: list[list[Any]], user: int | None = None) -> None:
    """Be the program, with these faults: a function of this module and its values each."""
    from mnist_cli.__main__ import main

    if user is not None and os.geteuid() == 0:
        os.setgid(user)
        os.setuid(user)
    sys.argv = ["mnist", *arguments]
    # As in a terminal, even where the tests run in the background and Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, *values in faults:
        globals()[name](*values)
    main()


def _replace(place: str, wrap: Callable[[Function], Function]) -> None:
    """Replace the function at ``module:attribute.path`` by what ``wrap`` makes of it."""
    mock.patch(place.replace(":", "."), wrap(pkgutil.resolve_name(place))).start()


def _on_call(place: str, number: int, happen: Callable[[], None]) -> None:
    """Call ``happen`` before the ``number``-th call, from 1, of the function at ``place``."""
    calls = itertools.count(1)

    def wrap(function: Function) -> Function:
        def wrapped(*values: Any, **named: Any) -> Any:
            if next(calls) == number:
                happen()
            return function(*values, **named)

        return wrapped

    _replace(place, wrap)


def draw_nothing() -> None:
    """No learning curves: they take longer than the nine steps."""
    _replace("mnist_cli.report.training:LearningCurves.finished", lambda _: lambda *_: None)


def mirrors_at(address: str) -> None:
    """Every data set has this one mirror."""
    _replace(
        "mnist_cli.catalogue:get",
        lambda get: lambda name: dataclasses.replace(get(name), mirrors=(address,)),
    )


def send(place: str, number: int, signals: list[int], group: bool = False) -> None:
    """Signals that arrive as the function at ``place`` is called."""

    def happen() -> None:
        for each in signals:
            (os.killpg if group else os.kill)(os.getpid(), each)

    _on_call(place, number, happen)


def send_at_exit(signals: list[int]) -> None:
    """Signals that arrive while the interpreter ends."""
    for each in signals:
        atexit.register(os.kill, os.getpid(), each)


def ignore(number: int) -> None:
    """A signal that is ignored when the program starts."""
    signal.signal(number, signal.SIG_IGN)


def fail(place: str, number: int, kind: str) -> None:
    """An exception of Python's, raised as the function at ``place`` is called."""

    def happen() -> None:
        raise getattr(builtins, kind)("made up")

    _on_call(place, number, happen)


def linger(place: str, number: int, marker: str) -> None:
    """Make a file as the function at ``place`` is called, and wait until it is removed."""

    def happen() -> None:
        Path(marker).touch()
        while Path(marker).exists():
            time.sleep(0.005)

    _on_call(place, number, happen)


def kill_a_worker(place: str, number: int) -> None:
    """SIGKILL for one of the DataLoader's workers as the function at ``place`` is called."""
    _on_call(place, number, lambda: multiprocessing.active_children()[0].kill())


def lose_a_worker(number: int) -> None:
    """SIGKILL for the first worker at its ``number``-th image, while its parent waits for it."""
    from torch.utils.data import get_worker_info

    def happen() -> None:
        worker = get_worker_info()
        assert worker is not None
        if worker.id == 0:
            time.sleep(0.2)  # the other batches are used up meanwhile
            os.kill(os.getpid(), signal.SIGKILL)

    _on_call("mnist_cli.data.batches:_ImageDataset.__getitem__", number, happen)


def no_larger_than(place: str, number: int, size: int) -> None:
    """From a call on, the system refuses to let a file grow above ``size`` bytes."""
    limit = (size, resource.RLIM_INFINITY)
    _on_call(place, number, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


class _Crash:
    """Counts the calls that writing a file takes, and dies before the chosen one."""

    def __init__(self, number: int, log: str) -> None:
        self.number, self.log, self.seen = number, log, 0
        self._opened = Path.open  # before it is replaced

    def before(self, call: str) -> None:
        self.seen += 1
        if self.log:
            with self._opened(Path(self.log), "a") as file:
                print(call, file=file)
        if self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def crash_before(number: int, log: str = "") -> None:
    """Die before a call that writes into the runs: open, write, fsync, rename, unlink.

    Before a write, half of it is written. ``number`` counts from 1, over the whole run; 0 never
    dies, and ``log`` gets a line for each call.
    """
    crash = _Crash(number, log)
    fsync, opened = os.fsync, Path.open

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if "runs" in path.parts:
            crash.before("fsync of a folder" if path.is_dir() else "fsync")
        fsync(descriptor)

    def opening(path: Path, *values: Any, **named: Any) -> Any:
        file = opened(path, *values, **named)
        if path.name.endswith(".tmp"):
            _halve_before(file, crash)
        return file

    def audited(event: str, values: tuple[Any, ...]) -> None:
        path = str(values[0]) if values else ""
        if event == "open" and (path.endswith(".tmp") or Path(path).parent.name == "runs"):
            crash.before("open")
        elif event in {"os.rename", "os.remove"} and ".tmp" in path:
            crash.before(event)

    os.fsync, Path.open = synced, opening  # type: ignore[assignment,method-assign]
    sys.addaudithook(audited)


def _halve_before(file: Any, crash: _Crash) -> None:
    """Let ``file`` be written in halves, with a chance to die in between."""
    write = file.write

    def halved(data: bytes) -> int:
        middle = len(data) // 2
        write(data[:middle])
        file.flush()
        crash.before("write")
        write(data[middle:])
        return len(data)

    file.write = halved
