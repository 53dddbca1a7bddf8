"""Receives one file from one address over https, bounded in time and in size.

httpx bounds each connection and each read, but neither name resolution nor the whole transfer. A
server that sends a byte now and then would hold a program for hours. So a thread receives the file
while the caller watches it for a bounded time, and stays interruptible. A thread that hangs in
the resolver is a daemon, and does not keep the program alive.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from mnist_cli.base.version import __version__

if TYPE_CHECKING:
    import httpx

# A slower mirror is abandoned: the largest file would take six days.
MIN_BYTES_PER_SECOND = 1024

_MAX_REDIRECTS = 5
_TICK = 0.05
"""Seconds between two checks of a transfer."""

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the bytes announced or None."""


class DownloadError(Exception):
    """Why an address did not give the file, in a few words."""


@dataclass(frozen=True)
class Timeouts:
    """Limits of time.

    Attributes:
        connect: seconds until an answer begins: name, connection, redirects, headers.
        slow: seconds in which ``MIN_BYTES_PER_SECOND`` must arrive on average.
        deadline: the :func:`time.monotonic` at which the transfer is abandoned.
    """

    connect: float
    slow: float
    deadline: float


def receive(
    url: str, sink: IO[bytes], timeouts: Timeouts, max_bytes: int, on_bytes: OnBytes
) -> tuple[int, str]:
    """Write the answer of ``url`` to ``sink``.

    Args:
        url: an https address, or an http address on this machine.
        sink: a binary file. After an error, close it: a thread may still wait for bytes to write.
        timeouts: the time limits.
        max_bytes: refuse a longer answer.
        on_bytes: reports the progress, from the calling thread.

    Returns:
        The number of bytes, and their md5.

    Raises:
        DownloadError: the answer is missing, slow, too long, cut off, a web page or a bad redirect.
        OSError: ``sink`` cannot be written.
    """
    try:  # before the clock starts: the first import of httpx takes a while
        # A second more, so that a server that never answers gives the same reason each time.
        asking = client(url, max(timeouts.connect, timeouts.slow) + 1)
    except Exception as error:  # a proxy that httpx does not support
        raise DownloadError(str(error)) from error
    transfer = _Transfer(asking, url, sink, max_bytes)
    transfer.start()
    in_time = min(timeouts.connect, max(timeouts.deadline - time.monotonic(), 0))
    if not transfer.answered.wait(in_time):
        raise DownloadError(f"no answer within {timeouts.connect:g} s")
    on_bytes(0, transfer.total)
    window_end, window_count = time.monotonic() + timeouts.slow, 0
    while True:
        transfer.join(_TICK)
        on_bytes(transfer.count, transfer.total)
        if not transfer.is_alive():
            break
        now = time.monotonic()
        if now >= timeouts.deadline:
            raise DownloadError(f"timed out after {transfer.count:,} bytes")
        if now >= window_end:
            arrived = transfer.count - window_count
            if arrived < MIN_BYTES_PER_SECOND * timeouts.slow:
                raise DownloadError(f"too slow: {arrived} bytes in {timeouts.slow:g} s")
            window_end, window_count = now + timeouts.slow, transfer.count
    if transfer.error is not None:
        raise transfer.error
    return transfer.count, transfer.md5.hexdigest()


class _Transfer(threading.Thread):
    """Receives a file.

    Attributes:
        answered: set when the answer begins, and at the end.
        total: the number of bytes that the server announces, if it does.
        count: the bytes written so far.
        md5: their checksum.
        error: the failure, if there is one.
    """

    def __init__(self, asking: httpx.Client, url: str, sink: IO[bytes], max_bytes: int) -> None:
        super().__init__(name="mnist-download", daemon=True)
        self._client, self._url, self._sink, self._max_bytes = asking, url, sink, max_bytes
        self.answered = threading.Event()
        self.total: int | None = None
        self.count = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.error: OSError | DownloadError | None = None

    def run(self) -> None:
        """Receive the file, or keep the error."""
        try:
            with self._client, _answer(self._client, self._url) as response:
                self._receive(response)
        except (OSError, DownloadError) as error:  # httpx raises no OSError: the sink does
            self.error = error
        except Exception as error:
            self.error = DownloadError(behind_proxy(self._url) + explain(error, self.count))
        self.answered.set()

    def _receive(self, response: httpx.Response) -> None:
        length = response.headers.get("Content-Length", "")
        self.total = int(length) if length.isascii() and length.isdigit() else None
        self._check_size(self.total or 0)
        self.answered.set()
        for chunk in response.iter_raw():
            if not self.count and chunk.lstrip().startswith(b"<"):
                raise DownloadError("it answers with a web page instead of the file")
            self._check_size(self.count + len(chunk))
            self._sink.write(chunk)
            self.md5.update(chunk)
            self.count += len(chunk)

    def _check_size(self, count: int) -> None:
        if count > self._max_bytes:
            raise DownloadError(
                f"{count:,} bytes or more; the file has at most {self._max_bytes:,}"
            )


def client(url: str, seconds: float) -> httpx.Client:
    """A client for ``url``, with the environment's proxies unless it is on this machine.

    It trusts the system's certificates, to which companies add theirs, not only certifi's.
    """
    import httpx

    return httpx.Client(
        headers={"User-Agent": f"mnist-cli/{__version__}", "Accept-Encoding": "identity"},
        timeout=seconds,
        verify=ssl.create_default_context(),
        trust_env=not is_loopback(urlsplit(url).hostname or ""),
    )


@contextmanager
def _answer(asking: httpx.Client, url: str) -> Iterator[httpx.Response]:
    """Ask for ``url``, and follow a few redirects. The body of a redirect is never read.

    A mirror elsewhere must not lead to a server on this machine, nor away from https.
    """
    plain = is_loopback(urlsplit(url).hostname or "")
    request = asking.build_request("GET", url)
    for _ in range(_MAX_REDIRECTS + 1):
        if not allowed(str(request.url), plain_on_loopback=plain):
            raise DownloadError(f"redirected to {request.url}, which is not https")
        with closing(asking.send(request, stream=True)) as response:
            if response.next_request is None:
                if not response.is_success:
                    raise DownloadError(f"HTTP {response.status_code} {response.reason_phrase}")
                yield response
                return
            request = response.next_request
    raise DownloadError("it redirects in a loop")


def allowed(url: str, *, plain_on_loopback: bool) -> bool:
    """Whether ``url`` is https, or, with ``plain_on_loopback``, http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return plain_on_loopback and parts.scheme == "http" and is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(url: str) -> str:
    """The address of the environment's proxy for ``url``; empty for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy if "//" in proxy or not proxy else f"//{proxy}"


def behind_proxy(url: str) -> str:
    """``the proxy HOST: `` for messages about ``url``, without a password; empty without one."""
    _, _, where = urlsplit(proxy_of(url)).netloc.rpartition("@")
    return f"the proxy {where}: " if where else ""


def explain(error: BaseException, count: int = 0) -> str:
    """Describe an exception of the network, after ``count`` bytes, in a few words."""
    cause: BaseException | None = error
    while cause is not None:  # httpx keeps the system's error as the cause of its own
        if isinstance(cause, socket.gaierror):
            return "its name does not resolve"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, TimeoutError):
            return f"silent after {count:,} bytes"
        cause = cause.__cause__ or cause.__context__
    if count:
        return f"cut off after {count:,} bytes"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
