"""Fetches a data set from the first mirror that gives the genuine files, whole or not at all.

One process downloads while others wait for its lock, which ends with the process. The process that
holds the lock removes the leftovers of killed ones, and continues with the missing files. The
layout is torchvision's (``DIR/MNIST/raw``), with both gzips and decompressed files, so that
torchvision can read them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import Timeout

from mnist_cli.base import locks
from mnist_cli.base.files import clear_stale, explain_os_error, removing_empty, replacing
from mnist_cli.catalogue.spec import Bundle, DatasetSpec, SourceFile
from mnist_cli.data import idx, store
from mnist_cli.data.mirrors import Mirrors
from mnist_cli.data.transfer import Timeouts
from mnist_cli.errors import DataError, OutputError

LOCK = ".fetch.lock"
CONNECT_SECONDS = 10.0
SLOW_SECONDS = 20.0


@dataclass(frozen=True)
class Progress:
    """The state of a fetch: ``done`` of ``total`` bytes of ``file``; None is an unknown total.

    The stage ``waiting`` means that another process fetches the same data set.
    """

    stage: Literal["waiting", "downloading", "extracting"]
    file: str = ""
    url: str = ""
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class FetchReport:
    """The result of a fetch.

    Attributes:
        files: the source of each file to read: its address, ``extracted`` if its archive was on
            disk, or ``present``; none for the bundled digits.
        downloaded: bytes received over the network.
        seconds: the time that it took.
    """

    files: dict[Path, str]
    downloaded: int
    seconds: float

    @property
    def folder(self) -> Path | None:
        """The folder that holds the files, directly or in subfolders; None without files."""
        parents = {path.parent for path in self.files}
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
    """Make sure that ``root`` has the files of ``spec``; download those that are not genuine.

    Args:
        spec: the data set; for the bundled digits, nothing is done.
        root: the data directory, created if necessary.
        progress: called with the state of the fetch, from this thread.
        connect_timeout: seconds within which a mirror must begin its answer.
        total_timeout: seconds for everything, including the wait for another process. None is the
            catalogue's value for the data set.
        mirrors: addresses to use instead of the catalogue's; https, or http on this machine.
        slow_timeout: seconds over which a mirror must send a kilobyte per second on average.

    Raises:
        UsageError: a mirror is not allowed.
        DataError: no mirror answers (within five seconds), or none gives the genuine files.
        OutputError: the directory cannot be written, or another process holds it for too long.
    """
    started, root = time.monotonic(), Path(root)
    report = progress or (lambda _: None)
    deadline = started + (spec.fetch_seconds if total_timeout is None else total_timeout)
    sources = Mirrors(
        spec.title,
        spec.mirrors if mirrors is None else mirrors,
        Timeouts(connect_timeout, slow_timeout, deadline),
        lambda *state: report(Progress("downloading", *state)),
        f"Try again later with `mnist data fetch {spec.name}`, set MNIST_DATA_DIR to a directory "
        "that has the files, or use the data set digits, which needs no files.",
    )
    files = _present(spec, root)
    if files is None:
        job = _Job(spec, store.raw_folder(spec, root), sources, report, deadline)
        files = _fetch_locked(job)
    return FetchReport(files, sources.downloaded, time.monotonic() - started)


@dataclass(frozen=True)
class _Job:
    """One fetch under way."""

    spec: DatasetSpec
    folder: Path
    mirrors: Mirrors
    report: OnProgress
    deadline: float


def _present(spec: DatasetSpec, root: Path) -> dict[Path, str] | None:
    """The files, if all are present and genuine; None if something is left to do.

    A gzip in the folder that this module fills is not enough: torchvision needs it extracted.
    """
    located = store.locate(spec, root)
    files = {}
    for file, copies in located.found.items():
        content = _genuine(file, copies[0]) if copies else None
        if content is None:
            return None
        if content.compressed and content.path.parent == store.raw_folder(spec, root):
            return None
        files[content.path] = "present"
    return files


def _genuine(file: SourceFile, path: Path) -> idx.Content | None:
    """The content of ``path``, if it is sound and its checksum is known and right."""
    with suppress(DataError):
        content = idx.load(path, limit=file.bytes)
        if store.judge(file, content) == "ok":
            return content
    return None


def _fetch_locked(job: _Job) -> dict[Path, str]:
    """Do the work in this process only; if it brings no file, remove new folders."""
    try:
        with removing_empty(job.folder, besides=LOCK):
            job.folder.mkdir(parents=True, exist_ok=True)
            with _lock(job):
                clear_stale(job.folder, alone=True)
                return _fetch_all(job)
    except OSError as error:
        raise explain_os_error(error, job.folder, "write to", _needed(job.spec)) from error


def _needed(spec: DatasetSpec) -> int:
    """Bytes needed for the files and their archives: images compress to about a fifth."""
    extracted = sum(file.bytes for file in spec.files)
    return extracted + extracted // 4 + (spec.bundle.max_bytes if spec.bundle else 0)


def _lock(job: _Job) -> AbstractContextManager[object]:
    """Become the only process in the folder; the system frees the lock of a process that dies."""
    path = job.folder / LOCK
    with suppress(Timeout):
        return locks.acquire(path, timeout=0)
    job.report(Progress("waiting"))
    try:
        return locks.acquire(path, timeout=max(job.deadline - time.monotonic(), 0))
    except Timeout as error:
        raise OutputError(
            f"another process has been fetching {job.spec.title} into {job.folder} for too long",
            "Wait for it or stop it, then try again.",
        ) from error


def _fetch_all(job: _Job) -> dict[Path, str]:
    """Download the missing archives, and extract every missing file."""
    sources = {file: _source_on_disk(job, file) for file in job.spec.files}
    missing = [file for file, source in sources.items() if source is None]
    if job.spec.bundle and missing:
        sources.update(dict.fromkeys(missing, _unpack_bundle(job, job.spec.bundle, missing)))
    else:
        for file in missing:
            path = job.folder / file.archive
            sources[file] = job.mirrors.download(path, file.archive_md5, _archive_limit(file))
    for file, source in sources.items():
        if source != "present":
            _extract(job, file)
    if job.spec.bundle and job.mirrors.downloaded:  # most of it is not this data set
        (job.folder / job.spec.bundle.name).unlink(missing_ok=True)
    return {job.folder / file.name: str(source) for file, source in sources.items()}


def _source_on_disk(job: _Job, file: SourceFile) -> str | None:
    """``present`` if the genuine file is on disk, ``extracted`` if only its archive is, else None."""
    if _genuine(file, job.folder / file.name) is not None:
        return "present"
    return "extracted" if _genuine(file, job.folder / file.archive) is not None else None


def _archive_limit(file: SourceFile) -> int:
    """Maximum number of bytes of a gzip of ``file``: deflate never adds a hundredth."""
    return file.bytes + file.bytes // 100 + 65_536


def _extract(job: _Job, file: SourceFile) -> None:
    """Decompress the gzip of ``file`` beside it, and record unknown checksums."""
    job.report(Progress("extracting", file.name, total=file.bytes))
    content = idx.load(job.folder / file.archive, limit=file.bytes)
    with replacing(job.folder / file.name) as target:
        target.write(content.raw.data)
    if file.md5 is None:
        md5s = {file.name: content.raw_md5(), file.archive: content.stored_md5}
        with replacing(job.folder / store.CHECKSUMS) as target:
            target.write(store.record_checksums(job.folder, md5s).encode())
    job.report(Progress("extracting", file.name, done=file.bytes, total=file.bytes))


def _unpack_bundle(job: _Job, bundle: Bundle, files: Sequence[SourceFile]) -> str:
    """Extract the gzips of ``files`` from the data set's zip.

    Returns:
        The address of the zip, or "extracted" if it was on disk, perhaps from torchvision.
    """
    path, source = job.folder / bundle.name, "extracted"
    if not path.is_file() or _md5(path) != bundle.md5:
        source = job.mirrors.download(path, bundle.md5, bundle.max_bytes)
    with zipfile.ZipFile(path) as archive:  # genuine; no path in it is ever used
        for file in files:
            with (
                archive.open(f"{bundle.folder}{file.archive}") as packed,
                replacing(job.folder / file.archive) as target,
            ):
                shutil.copyfileobj(packed, target)
    return source


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
