"""Fetching a data set: from whichever mirror gives the genuine files, whole or not at all.

One process downloads while others wait for its lock, which dies with it; whoever holds the lock
clears away what a killed one left, and goes on with what is still missing. The layout is
torchvision's (``DIR/MNIST/raw``), gzips and decompressed files both, so that torchvision reads what
was fetched here.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

from filelock import FileLock, Timeout

from mnist_cli.base.files import clear_stale, explain_os_error
from mnist_cli.catalogue.spec import Bundle, DatasetSpec, SourceFile
from mnist_cli.data import idx, store
from mnist_cli.data.download import SLOW_SECONDS
from mnist_cli.data.mirrors import Failure, Mirrors, Patience, replacing
from mnist_cli.errors import DataError, OutputError

LOCK = ".fetch.lock"
CONNECT_SECONDS = 10.0

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Progress:
    """Where a fetch stands: ``done`` of ``total`` bytes of ``file``, None where it is not known.

    ``waiting`` means for another process that fetches the same data set.
    """

    stage: Literal["waiting", "downloading", "extracting"]
    file: str = ""
    url: str = ""
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class FetchedFile:
    """A file that can be read now.

    ``source`` is the address it came from, ``"extracted"`` where its archive was there, or
    ``"present"``.
    """

    path: Path
    bytes: int
    source: str


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did.

    Attributes:
        dataset: its name.
        files: the files to be read; none for the bundled digits.
        failures: addresses that were tried in vain on the way.
        downloaded: bytes that came over the network.
        seconds: how long it took.
    """

    dataset: str
    files: tuple[FetchedFile, ...]
    failures: tuple[Failure, ...]
    downloaded: int
    seconds: float

    @property
    def folder(self) -> Path | None:
        """The folder that holds the files, or the folders that do; None where there are none."""
        parents = {file.path.parent for file in self.files}
        return Path(os.path.commonpath(parents)) if parents else None


OnProgress = Callable[[Progress], None]


def fetch(
    spec: DatasetSpec,
    root: Path | str,
    *,
    progress: OnProgress | None = None,
    connect_timeout: float = CONNECT_SECONDS,
    total_timeout: float | None = None,
    mirrors: Sequence[str] | None = None,
    slow_timeout: float = SLOW_SECONDS,
) -> FetchReport:
    """Have the files of ``spec`` under ``root``, downloading what is not there and genuine.

    Args:
        spec: the data set; nothing happens for the bundled digits.
        root: the data directory, made if need be.
        progress: told where the fetch stands, from this thread.
        connect_timeout: seconds in which a mirror must begin its answer.
        total_timeout: seconds for everything, waiting for another process included; by default
            what the data set's size asks for.
        mirrors: addresses to ask instead of the catalogue's; https, or http on this machine.
        slow_timeout: seconds over which a mirror must send a kilobyte each.

    Raises:
        UsageError: a mirror that may not be asked.
        DataError: no mirror answers (within five seconds), or none gives the genuine files.
        OutputError: the directory cannot be written, or another process holds it too long.
    """
    started, root = time.monotonic(), Path(root)
    report = progress or (lambda _: None)
    total = spec.fetch_seconds if total_timeout is None else total_timeout
    patience = Patience(connect_timeout, slow_timeout, started + total)
    addresses = spec.mirrors if mirrors is None else mirrors
    asked = Mirrors(spec.title, addresses, patience, _downloading(report), _other_ways(spec))
    folder = store.raw_folder(spec, root)
    files = _present(spec, root)
    if files is None:
        files = _fetch_locked(_Job(spec, folder, asked, report), patience.deadline)
    seconds = time.monotonic() - started
    return FetchReport(spec.name, files, tuple(asked.failures), asked.downloaded, seconds)


@dataclass(frozen=True)
class _Job:
    """One fetch under way."""

    spec: DatasetSpec
    folder: Path
    mirrors: Mirrors
    report: OnProgress


def _downloading(report: OnProgress) -> Callable[[str, str, int, int | None], None]:
    def tell(file: str, url: str, done: int, total: int | None) -> None:
        report(Progress("downloading", file, url, done, total))

    return tell


def _other_ways(spec: DatasetSpec) -> str:
    return (
        f"Try again later with `mnist data fetch {spec.name}`, name a directory that has the "
        "files with --data-dir (or MNIST_DATA_DIR), or use --dataset digits, which needs no files."
    )


def _present(spec: DatasetSpec, root: Path) -> tuple[FetchedFile, ...] | None:
    """The files, if all are there and genuine; None if something is left to do.

    A gzip in the folder that this module fills is not enough: torchvision wants it extracted.
    """
    located = store.locate(spec, root)
    files = []
    for file, copies in located.found.items():
        content = _genuine(file, copies[0]) if copies else None
        if content is None:
            return None
        if content.compressed and content.path.parent == store.raw_folder(spec, root):
            return None
        files.append(FetchedFile(content.path, content.path.stat().st_size, "present"))
    return tuple(files)


def _genuine(file: SourceFile, path: Path) -> idx.Content | None:
    """The content of ``path``, if it is sound and its checksum known and right."""
    if not path.is_file():
        return None
    with suppress(DataError):
        content = idx.load(path, limit=file.bytes)
        if store.judge(file, content) == "ok":
            return content
    return None


def _fetch_locked(job: _Job, deadline: float) -> tuple[FetchedFile, ...]:
    """Do the work as the only process that does; what the disk refuses is an OutputError."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with _lock(job, deadline):
            clear_stale(job.folder, alone=True)
            return _fetch_all(job)
    except OSError as error:
        raise explain_os_error(error, job.folder, "write to", _needed(job.spec)) from error


def _needed(spec: DatasetSpec) -> int:
    """Room for the files and their archives, in bytes: images pack to about a fifth."""
    extracted = sum(file.bytes for file in spec.files)
    return extracted + extracted // 4 + (spec.bundle.max_bytes if spec.bundle else 0)


@contextmanager
def _lock(job: _Job, deadline: float) -> Iterator[None]:
    """Be the only process in the folder; the system frees the lock of one that dies."""
    lock = FileLock(job.folder / LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            job.report(Progress("waiting"))
            lock.acquire(timeout=max(deadline - time.monotonic(), 0))
    except Timeout as error:
        raise OutputError(
            f"another process has been fetching {job.spec.title} into {job.folder} for too long",
            "Wait for it or stop it, then try again.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fetch_all(job: _Job) -> tuple[FetchedFile, ...]:
    """Bring every file that is not there yet."""
    files = []
    parcel = _Parcel(job)
    for file in job.spec.files:
        path = job.folder / file.name
        source = "present"
        if _genuine(file, path) is None:
            source = _bring_archive(job, parcel, file)
            _extract(job, file)
        files.append(FetchedFile(path, path.stat().st_size, source))
    parcel.discard()
    return tuple(files)


def _bring_archive(job: _Job, parcel: _Parcel, file: SourceFile) -> str:
    """Have the gzip of ``file``; says where it came from."""
    path = job.folder / file.archive
    if _genuine(file, path) is not None:
        return "extracted"
    if job.spec.bundle:
        return parcel.bring(job.spec.bundle, file)
    return job.mirrors.bring(path, file.archive_md5, _archive_limit(file))


def _archive_limit(file: SourceFile) -> int:
    """The most bytes that a gzip of ``file`` can have: deflate never adds a hundredth."""
    return file.bytes + file.bytes // 100 + 65_536


def _extract(job: _Job, file: SourceFile) -> None:
    """Decompress the gzip of ``file`` beside it, and record checksums that are not known."""
    job.report(Progress("extracting", file.name, total=file.bytes))
    content = idx.load(job.folder / file.archive, limit=file.bytes)
    if file.md5 is not None and content.raw_md5() != file.md5:
        raise DataError(f"{content.path} does not hold {job.spec.title}'s {file.name}", idx.HINT)
    with replacing(job.folder / file.name) as target:
        target.write(content.raw.data)
    if file.md5 is None:
        md5s = {file.name: content.raw_md5(), file.archive: content.stored_md5}
        with replacing(job.folder / store.CHECKSUMS) as target:
            target.write(store.record_checksums(job.folder, md5s).encode())
    job.report(Progress("extracting", file.name, done=file.bytes, total=file.bytes))


class _Parcel:
    """The zip that a data set comes in: had once, when the first file is asked for."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._source: str | None = None
        self._downloaded: Path | None = None

    def bring(self, bundle: Bundle, file: SourceFile) -> str:
        """Have the gzip of ``file`` out of the zip; says where the zip came from."""
        path = self._job.folder / bundle.name
        if self._source is None:
            self._source = self._have(bundle, path)
        _unzip(path, f"{bundle.folder}{file.archive}", self._job.folder / file.archive, file)
        return self._source

    def discard(self) -> None:
        """Remove the zip if it was downloaded here: most of it is not this data set."""
        if self._downloaded:
            self._downloaded.unlink(missing_ok=True)

    def _have(self, bundle: Bundle, path: Path) -> str:
        """A zip that is there, torchvision's perhaps, is used and kept."""
        if path.is_file() and _md5(path) == bundle.md5:
            return "extracted"
        source = self._job.mirrors.bring(path, bundle.md5, bundle.max_bytes)
        self._downloaded = path
        return source


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unzip(path: Path, member: str, to: Path, file: SourceFile) -> None:
    """Copy one member of a zip to a name of our own: no path in the zip is ever used."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(member) as source,
            replacing(to) as target,
        ):
            _copy(source, target, _archive_limit(file))
    except (
        KeyError,
        RuntimeError,  # an encrypted member
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise DataError(f"{path}: cannot take {member} out of it: {error}", idx.HINT) from error


def _copy(source: IO[bytes], target: BinaryIO, limit: int) -> None:
    """Copy at most ``limit`` bytes; zipfile compares the CRC at the end."""
    left = limit
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise zipfile.BadZipFile(f"more than {limit:,} bytes")
        target.write(chunk)
