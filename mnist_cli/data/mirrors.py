"""A data set's mirrors: asked in turn until one gives the genuine file.

What lies at a final path is always complete and verified: a file is written under a temporary name
beside it, synced and renamed. Knows checksums and sizes, but no data sets, locks or formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mnist_cli.base.files import replace, sync, sync_folder, temporary_for
from mnist_cli.data.download import Limits, download
from mnist_cli.data.web import DownloadError, allowed, is_loopback, reach
from mnist_cli.errors import DataError, UsageError

OnBytes = Callable[[str, str, int, int | None], None]
"""Called with a file's name, its address, the bytes so far and the bytes announced or None."""


@dataclass(frozen=True)
class Failure:
    """An address that did not give its file, and why."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


@dataclass(frozen=True)
class Patience:
    """How long to wait: for a mirror to begin its answer, for a kilobyte a second, for all.

    ``connect`` and ``slow`` are seconds; ``deadline`` is a :func:`time.monotonic`.
    """

    connect: float
    slow: float
    deadline: float


class Mirrors:
    """Addresses to which a file's name is added, in an order that is reordered by experience.

    Attributes:
        failures: what was tried in vain so far.
        downloaded: bytes that came so far.
    """

    def __init__(
        self, title: str, addresses: Sequence[str], patience: Patience, on_bytes: OnBytes, hint: str
    ) -> None:
        """Take https addresses, and http ones on this machine; UsageError for any other."""
        for address in addresses:
            if not allowed(address, plain_on_loopback=True):
                raise UsageError(
                    f"{address!r} cannot be a mirror: only https is asked, and http on this "
                    "machine",
                    "Give an address that begins with https://.",
                )
        self.failures: list[Failure] = []
        self.downloaded = 0
        self._title, self._hint = title, hint
        self._addresses = [a if a.endswith("/") else f"{a}/" for a in addresses]
        self._patience = patience
        self._on_bytes = on_bytes
        self._reached = False

    def bring(self, path: Path, md5: str | None, max_bytes: int) -> str:
        """Have the file named as ``path`` at ``path``; says from which address it came.

        Raises:
            DataError: no mirror answers (within five seconds), or none gives the genuine file.
            OSError: it cannot be written.
        """
        self._reach()
        before = len(self.failures)
        for address in tuple(self._addresses):
            url = f"{address}{path.name}"
            try:
                self._download(url, path, md5, max_bytes)
            except DownloadError as error:
                self.failures.append(Failure(url, str(error)))
                if time.monotonic() >= self._patience.deadline:
                    break
                continue
            # What answered once is asked first from now on.
            self._prefer({address})
            return url
        tried = "; ".join(str(failure) for failure in self.failures[before:]) or "it has no mirror"
        raise DataError(
            f"{self._title} is not available: no mirror gave {path.name} ({tried})", self._hint
        )

    def _download(self, url: str, path: Path, md5: str | None, max_bytes: int) -> None:
        """Download to a temporary name, and rename it if the checksum is right."""
        limits = Limits(
            self._patience.connect, self._patience.deadline, max_bytes, self._patience.slow
        )

        def tell(done: int, total: int | None) -> None:
            self._on_bytes(path.name, url, done, total)

        plain = is_loopback(urlsplit(url).hostname or "")
        with replacing(path) as sink:
            received = download(url, sink, limits, plain=plain, on_bytes=tell)
            if md5 is not None and received.md5 != md5:
                raise DownloadError(f"wrong bytes: md5 {received.md5}, expected {md5}")
        self.downloaded += received.bytes

    def _reach(self) -> None:
        """Once: put the mirrors that answer first; DataError, and soon, if none does."""
        if self._reached or not self._addresses:
            return
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
        """Put good addresses first and leave the order as it is otherwise."""
        self._addresses.sort(key=lambda address: address not in good)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears at ``path`` when it is whole, even through a power failure.

    For what is too big or too slow to come for :func:`mnist_cli.base.files.atomic_write`.
    """
    part = temporary_for(path)
    try:
        with part.open("xb") as file:
            yield file
            sync(file)
        replace(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
