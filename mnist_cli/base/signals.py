"""Signals as requests to stop, held back during an import, or ignored."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import NoReturn

from mnist_cli.errors import Interrupted, Stopped, Terminated

ENDINGS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""Signals that end the program with the exit code of SIGTERM.

A closed terminal sends SIGHUP, and a batch scheduler SIGUSR1 before it takes the machine away.
Windows has SIGTERM alone.
"""
NUMBERS = (signal.SIGINT, *ENDINGS)


class Termination(KeyboardInterrupt):
    """One of ENDINGS where nothing needs to be saved: unwinds as Ctrl-C does, past any `except`."""


heard: list[int] = []
"""The numbers of the signals that have raised an exception, oldest first.

C code can replace that exception by another, as pydantic does while it builds a class.
"""


def hear_endings() -> None:
    """From now on, raise :class:`Termination` on each signal of ENDINGS that is not ignored.

    Where Python ignores exceptions, as in a weakref's callback, it is raised again soon afterwards.
    The same holds for the KeyboardInterrupt of Ctrl-C.
    """

    def terminate(number: int, _frame: FrameType | None) -> NoReturn:
        heard.append(number)
        raise Termination(number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    sys.unraisablehook = _send_again
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    for number in ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, terminate)


def _send_again(ignored: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose exception was ignored; report other exceptions as Python does."""
    error = ignored.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    number = error.args[0] if isinstance(error, Termination) else signal.SIGINT
    later = threading.Timer(0.05, signal.raise_signal, [number])
    later.daemon = True
    later.start()


def leave() -> None:
    """End the process at once, as an interrupted one."""
    os._exit(Interrupted.code)


class StoppedWaiting(Exception):
    """A signal came inside :meth:`StopRequest.waiting`."""


class StopRequest:
    """Whether somebody asked the process to stop, and with which signal.

    Set ``done`` when nothing is left to stop: the signals are ignored from then on.

    Args:
        insist: what a second Ctrl-C does; the default ends the process at once, with exit code 130.
    """

    def __init__(self, insist: Callable[[], None] = leave) -> None:
        self.signal = 0
        self.done = False
        self._waits = False
        self._insist = insist

    def __bool__(self) -> bool:
        return self.signal != 0

    def error(self, message: str, hint: str = "") -> Stopped:
        """The error that ends the program with the signal's exit code."""
        error = (Interrupted if self.signal == signal.SIGINT else Terminated)(message, hint)
        error.signal = self.signal
        return error

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait inside for something that may never come: a signal ends the wait.

        Raises:
            StoppedWaiting: a signal came, before or inside.
        """
        self._waits = True
        try:
            if self:
                raise StoppedWaiting
            yield
        finally:
            self._waits = False

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            self._insist()
        self.signal = number
        if self._waits:
            self._waits = False
            raise StoppedWaiting


@contextlib.contextmanager
def stop_on_signals(insist: Callable[[], None] = leave) -> Iterator[StopRequest]:
    """Turn signals into a :class:`StopRequest` while the context lasts.

    A signal that is ignored stays ignored: whoever started the process (``nohup``, or a shell's
    background job) wants it to go on. Outside the main thread, where Python delivers no signals,
    nothing changes.

    Args:
        insist: what a second Ctrl-C does; the default ends the process at once.
    """
    request = StopRequest(insist)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {
        number: signal.signal(number, request._receive)
        for number in NUMBERS
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if request.done else handler)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back until the context ends; a second SIGINT ends the process."""
    stop = StopRequest()
    try:
        with stop_on_signals() as stop:
            yield
    finally:
        if stop:
            signal.raise_signal(stop.signal)


class HeldImport(PathFinder):
    """Finds torch, and holds back signals and garbage collection during its import.

    torch's C code first imports numpy, and swallows a KeyboardInterrupt there. numpy would stay
    half imported, and later end the program with a traceback instead of exit code 130.
    """

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See :class:`importlib.machinery.PathFinder`; finds torch only."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(cls)
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def held(module: ModuleType) -> None:
                with signals_held(), garbage_kept():
                    run(module)

            spec.loader.exec_module = held  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Pause garbage collection while modules are imported; later, it ignores their objects.

    Collection takes 15% of the import of torch, and frees next to nothing.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


@contextlib.contextmanager
def handlers_put_back() -> Iterator[None]:
    """Restore the handlers of signals at the end, whatever is set meanwhile."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore signals from here on: the process has done its work, or another decides its end."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def end_on_signals() -> None:
    """Let the system end the process on a signal, unless the shell has set it to be ignored."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
