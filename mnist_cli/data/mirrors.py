"""Asks the mirrors of a data set in turn, until one gives the genuine file.

A file at a final path is always complete and verified. This module knows checksums and sizes, but
no data sets, locks or formats.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from mnist_cli.base.files import replacing
from mnist_cli.base.packages import require
from mnist_cli.data.transfer import (
    DownloadError,
    Timeouts,
    allowed,
    behind_proxy,
    explain,
    proxy_of,
    receive,
)
from mnist_cli.errors import DataError, UsageError

# Long enough for three SYN packets (0, 1 and 3 s), short enough to answer within five seconds.
REACH_SECONDS = 4.0

OnBytes = Callable[[str, str, int, int | None], None]
"""Called with a file's name, its address, the bytes so far and the bytes announced or None."""


class Mirrors:
    """Base addresses of files. Addresses that work are asked first from then on.

    Attributes:
        downloaded: the bytes received so far.
    """

    def __init__(
        self, title: str, addresses: Sequence[str], timeouts: Timeouts, on_bytes: OnBytes, hint: str
    ) -> None:
        """Check the addresses.

        Args:
            title: the data set's name, for messages.
            addresses: https addresses, or http addresses on this machine.
            timeouts: the time limits.
            on_bytes: reports the progress.
            hint: the suggested fix if no mirror gives a file.

        Raises:
            UsageError: an address is of neither kind.
        """
        for address in addresses:
            if not allowed(address, plain_on_loopback=True):
                raise UsageError(
                    f"{address!r} is not a valid mirror: it does not use https",
                    "Give an address that begins with https://.",
                )
        self.downloaded = 0
        self._title, self._hint = title, hint
        self._addresses = [a if a.endswith("/") else f"{a}/" for a in addresses]
        self._timeouts = timeouts
        self._on_bytes = on_bytes
        self._reached = False

    def download(self, path: Path, md5: str | None, max_bytes: int) -> str:
        """Download the file named like ``path`` to ``path``, of at most ``max_bytes`` bytes.

        ``md5`` is its checksum; None if it is not known.

        Returns:
            The address of the downloaded file.

        Raises:
            DataError: no mirror answers (within five seconds), or none gives the genuine file.
            OSError: it cannot be written.
        """
        self._reach()
        failures = []
        for address in tuple(self._addresses):
            url = f"{address}{path.name}"
            try:
                self._receive(url, path, md5, max_bytes)
            except DownloadError as error:
                failures.append(f"{url}: {error}")
                if time.monotonic() >= self._timeouts.deadline:
                    break
            else:
                self._prefer({address})
                return url
        tried = "; ".join(failures) or "it has no mirror"
        raise DataError(
            f"{self._title} is not available: no mirror gave {path.name} ({tried})", self._hint
        )

    def _receive(self, url: str, path: Path, md5: str | None, max_bytes: int) -> None:
        """Download to a temporary name, and rename it if the checksum is right."""

        def on_bytes(done: int, total: int | None) -> None:
            self._on_bytes(path.name, url, done, total)

        with replacing(path) as sink:
            count, actual = receive(url, sink, self._timeouts, max_bytes, on_bytes)
            if md5 is not None and actual != md5:
                raise DownloadError(f"wrong bytes: md5 {actual}, expected {md5}")
        self.downloaded += count

    def _reach(self) -> None:
        """Once, put mirrors that answer first; if no mirror answers, soon raise a DataError."""
        if self._reached or not self._addresses:
            return
        require("httpx", "a download")
        answers = reach(self._addresses)
        if all(answers.values()):
            silent = "; ".join(f"{urlsplit(url).hostname}: {why}" for url, why in answers.items())
            raise DataError(
                f"{self._title} is not on disk, and no mirror can be reached ({silent})",
                f"Check the network. {self._hint}",
            )
        self._prefer({address for address, why in answers.items() if not why})
        self._reached = True

    def _prefer(self, good: set[str]) -> None:
        """Put good addresses first, and keep the order otherwise."""
        self._addresses.sort(key=lambda address: address not in good)


def reach(urls: Sequence[str], timeout: float = REACH_SECONDS) -> dict[str, str]:
    """Connect to all hosts at once, to find out which of them answer.

    Returns:
        For each address, "" if a connection was made, else the reason. Returns as soon as the first
        address in ``urls`` answers; addresses without a result by then count as silent.
    """
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    for url in dict.fromkeys(urls):
        threading.Thread(target=_connect, args=(url, timeout, answers), daemon=True).start()
    known: dict[str, str] = {}
    deadline = time.monotonic() + timeout
    with suppress(queue.Empty):
        while len(known) < len(set(urls)) and known.get(urls[0]) != "":
            url, why = answers.get(timeout=max(deadline - time.monotonic(), 0))
            known[url] = why
    return {url: known.get(url, f"no answer within {timeout:g} s") for url in urls}


def _connect(url: str, timeout: float, answers: queue.Queue[tuple[str, str]]) -> None:
    """Connect to the host of ``url``, or to its proxy, and disconnect."""
    try:
        socket.create_connection(_endpoint(url), timeout=timeout).close()
        answers.put((url, ""))
    except Exception as error:
        answers.put((url, behind_proxy(url) + explain(error)))


def _endpoint(url: str) -> tuple[str, int]:
    """The host and port to which a request for ``url`` connects."""
    parts = urlsplit(proxy_of(url) or url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
