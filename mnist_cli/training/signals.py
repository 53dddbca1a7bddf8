"""SIGINT and SIGTERM as requests: the first finishes the batch, a second SIGINT leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from mnist_cli.errors import Interrupted, Stopped, Terminated


class StopRequest:
    """Whether somebody asked the process to stop, and with which signal.

    ``done`` is set where there is nothing left to stop: the signals are ignored from then on.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.done = False

    def __bool__(self) -> bool:
        return self.signal != 0

    def error(self, message: str, hint: str = "") -> Stopped:
        """The error that ends the program with the signal's exit code."""
        kind = Terminated if self.signal == signal.SIGTERM else Interrupted
        return kind(message, hint)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            os._exit(Interrupted.code)
        self.signal = number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a :class:`StopRequest` while the context lasts.

    One that is ignored stays so: whoever started the process, as ``nohup``, or a shell a job in
    the background, wanted it to go on. Outside the main thread, where Python delivers no signals,
    nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {
        number: signal.signal(number, request._receive)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if request.done else handler)


@contextlib.contextmanager
def handlers_put_back() -> Iterator[None]:
    """Put the handlers of SIGINT and SIGTERM back at the end, whatever is set meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
