"""One file from one address: bounded in time and in size.

urllib alone does not bound time: name resolution has no time-out at all, the others hold for a
single read, so that a server which sends a byte now and then keeps a program for hours. Here a
thread of its own talks to the network and hands over what arrives; the caller waits no longer than
it wants to, and stays interruptible. A thread that hangs in the resolver is left behind; being a
daemon it does not keep the program alive.

Knows nothing of data sets, and writes only to the file object that it is given;
:mod:`mnist_cli.data.web` says which address may be asked.
"""

from __future__ import annotations

import hashlib
import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from mnist_cli import __version__
from mnist_cli.data.web import DownloadError, allowed, explain, opener

# A mirror slower than this for so long is given up: the largest file would take six days.
MIN_BYTES_A_SECOND = 1024
SLOW_SECONDS = 20.0

_CHUNK = 1 << 16

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes received so far and the bytes announced, None where they are not."""


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to take.

    Attributes:
        connect: seconds until the first byte of an answer: name, connection, redirects, headers.
        deadline: the :func:`time.monotonic` at which to give up altogether.
        max_bytes: refuse a longer answer.
        slow: seconds over which fewer than ``MIN_BYTES_A_SECOND`` are too few.
    """

    connect: float
    deadline: float
    max_bytes: int
    slow: float = SLOW_SECONDS


@dataclass(frozen=True)
class Received:
    """What arrived: its size and its checksum."""

    bytes: int
    md5: str


@dataclass(frozen=True)
class _Started:
    """The first message of the receiving thread: how many bytes the server announces."""

    total: int | None


@dataclass(frozen=True)
class _Ended:
    """Its last: None, or what went wrong."""

    error: Exception | None


_Message = _Started | bytes | _Ended


def download(
    url: str,
    sink: BinaryIO,
    limits: Limits,
    *,
    plain: bool = False,
    on_bytes: OnBytes | None = None,
) -> Received:
    """Write what ``url`` answers to ``sink``.

    Args:
        url: an https address.
        sink: a binary file, written from the calling thread only.
        limits: bounds of time and size.
        plain: take http as well, from this machine.
        on_bytes: told of the progress, from the calling thread.

    Raises:
        DownloadError: no answer, too slow, too long, cut off, a web page, or led astray.
        OSError: ``sink`` cannot be written.
    """
    if not allowed(url, plain_on_loopback=plain):
        raise DownloadError("only https is asked")
    receiver = _Receiver(url, max(limits.connect, limits.slow), plain)
    threading.Thread(target=receiver.run, name="mnist-download", daemon=True).start()
    try:
        return _drain(receiver.inbox, sink, limits, on_bytes or (lambda received, total: None))
    finally:
        receiver.stop()


class _Receiver:
    """The half that talks to the network, in a thread of its own."""

    def __init__(self, url: str, timeout: float, plain: bool) -> None:
        self._url, self._timeout, self._plain = url, timeout, plain
        # Bounded, so that a disk slower than the network does not fill the memory.
        self.inbox: queue.Queue[_Message] = queue.Queue(maxsize=32)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Nobody listens any longer."""
        self._stopped.set()

    def run(self) -> None:
        """Ask, hand over, and end with the outcome."""
        error: Exception | None = None
        try:
            self._receive()
        except Exception as caught:
            # Whatever it is, the other thread must hear of it: it would wait in vain.
            error = caught
            if isinstance(caught, urllib.error.HTTPError):
                caught.close()
        self._hand_over(_Ended(error))

    def _receive(self) -> None:
        agent = {"User-Agent": f"mnist-cli/{__version__}"}
        request = urllib.request.Request(self._url, headers=agent)
        way = opener(self._url, self._plain)
        with way.open(request, timeout=self._timeout) as response:
            total = _announced(response)
            self._hand_over(_Started(total))
            count = 0
            while not self._stopped.is_set() and (chunk := response.read1(_CHUNK)):
                count += len(chunk)
                self._hand_over(chunk)
        if total is not None and count < total and not self._stopped.is_set():
            raise http.client.IncompleteRead(b"", total - count)

    def _hand_over(self, message: _Message) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self.inbox.put(message, timeout=0.2)
                return


def _drain(
    inbox: queue.Queue[_Message], sink: BinaryIO, limits: Limits, on_bytes: OnBytes
) -> Received:
    """Take over what arrives, for as long as it arrives well."""
    total = _first(inbox, limits)
    md5, count = hashlib.md5(usedforsecurity=False), 0
    window_start, window_count = time.monotonic(), 0
    on_bytes(0, total)
    while True:
        message = _next(inbox, min(window_start + limits.slow, limits.deadline))
        if isinstance(message, _Ended):
            _raise(message, count)
            return Received(count, md5.hexdigest())
        if isinstance(message, bytes):
            _check_start(message if not count else b"")
            count += len(message)
            _check_size(count, limits)
            sink.write(message)
            md5.update(message)
            on_bytes(count, total)
        if (now := time.monotonic()) >= limits.deadline:
            raise DownloadError(f"the time ran out after {count:,} bytes")
        if now >= window_start + limits.slow:
            if count - window_count < MIN_BYTES_A_SECOND * limits.slow:
                raise DownloadError(f"too slow: {count - window_count} bytes in {limits.slow:g} s")
            window_start, window_count = now, count


def _first(inbox: queue.Queue[_Message], limits: Limits) -> int | None:
    """Wait for the answer to begin; the number of bytes that it announces."""
    message = _next(inbox, min(time.monotonic() + limits.connect, limits.deadline))
    if message is None:
        raise DownloadError(f"no answer within {limits.connect:g} s")
    if isinstance(message, _Ended):
        _raise(message, 0)
    total = message.total if isinstance(message, _Started) else None
    _check_size(total or 0, limits)
    return total


def _next(inbox: queue.Queue[_Message], until: float) -> _Message | None:
    with suppress(queue.Empty):
        return inbox.get(timeout=max(until - time.monotonic(), 0))
    return None


def _raise(end: _Ended, count: int) -> None:
    """Turn what ended the transfer into words."""
    if end.error is not None:
        raise DownloadError(explain(end.error, count)) from end.error


def _check_start(first: bytes) -> None:
    if first.lstrip().startswith(b"<"):
        raise DownloadError("it answers with a web page instead of the file")


def _check_size(count: int, limits: Limits) -> None:
    if count > limits.max_bytes:
        raise DownloadError(f"{count:,} bytes or more, where at most {limits.max_bytes:,} can be")


def _announced(response: http.client.HTTPResponse) -> int | None:
    """The answer's Content-Length, if it has a sensible one."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None
