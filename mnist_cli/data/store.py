"""Finds, checks and reads the files of data sets on disk.

Opens no socket and imports neither torch nor torchvision (``import torchvision`` alone costs
1.7 s): files on disk need neither. :mod:`mnist_cli.data.fetch` downloads files.

A directory may be a torchvision root (``DIR/MNIST/raw/train-images-idx3-ubyte``), any folder
inside one, or a flat folder with the files. Each file may be gzipped or not. Its name has a dash
or, as some programs unpack it, a dot (``train-images.idx3-ubyte``).

A file is genuine if the catalogue has its checksum, or that of its archive. If only the archive's
checksum is known, this program records the checksum of the file that it extracts, and trusts it
from then on. Checking takes 0.06 s for MNIST's training images (47 MB), 0.02 s gzipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnist_cli import catalogue
from mnist_cli.base.ahead import begin
from mnist_cli.base.files import is_regular
from mnist_cli.catalogue.spec import HEIGHT, WIDTH, DatasetSpec, SourceFile, SplitName
from mnist_cli.data import bundled, idx
from mnist_cli.data.records import Arrays
from mnist_cli.errors import DataError

CHECKSUMS = "checksums.json"
CHECKSUMS_FORMAT = "mnist-cli/checksums"

Verdict = Literal["ok", "bad", "unknown"]

_begun: dict[Path, Future[idx.Content]] = {}
"""The files that are being read ahead."""


@dataclass(frozen=True)
class Located:
    """The files of a data set in a directory.

    Attributes:
        spec: the data set.
        searched: the folders that were searched, in order.
        found: every copy of each file, the most trustworthy first.
        missing: the files without a copy.
    """

    spec: DatasetSpec
    searched: tuple[Path, ...]
    found: dict[SourceFile, tuple[Path, ...]]
    missing: tuple[SourceFile, ...]


@dataclass(frozen=True)
class FileReport:
    """The result of :func:`verify` for one file.

    Attributes:
        path: the file, or its expected place if ``bytes`` is None.
        bytes: its size; None if it is missing.
        checksum: ``unknown`` if there is nothing to compare with.
        readable: whether it is a whole and sound IDX file of the right shape.
        problem: the fault of the file; "" if there is none.
    """

    path: Path
    bytes: int | None
    checksum: Verdict
    readable: bool
    problem: str = ""


def raw_folder(spec: DatasetSpec, root: Path) -> Path:
    """The folder where torchvision and :mod:`mnist_cli.data.fetch` put the files."""
    return root / spec.folder / "raw"


def locate(spec: DatasetSpec, root: Path | str) -> Located:
    """Look for the files of ``spec`` under ``root``, without opening any."""
    root = Path(root)
    searched = (raw_folder(spec, root), root / spec.folder, root / "raw", root)
    found = {file: tuple(_copies(file, searched)) for file in spec.files}
    missing = tuple(file for file, copies in found.items() if not copies)
    return Located(spec, searched, found, missing)


def read(spec: DatasetSpec, split: SplitName, root: Path | str) -> Arrays:
    """Read one split, and compare every known checksum.

    Args:
        spec: the data set.
        split: the split to read.
        root: the data directory; not used for the bundled digits.

    Raises:
        DataError: files are missing, damaged, of another data set, or do not match.
    """
    if spec.bundled:
        return bundled.read(split)
    located = locate(spec, root)
    files = spec.file(split, "images"), spec.file(split, "labels")
    _require(located, *files)
    images, labels = (_content(spec, file, located.found[file][0]) for file in files)
    pixels = images.array
    if spec.transposed:  # EMNIST stores each image column by column
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    return Arrays(pixels, _labels(spec, labels))


def begin_reading(spec: DatasetSpec, root: Path) -> None:
    """Begin to read the training images in another thread; :func:`read` then waits for it.

    Decompressing MNIST's training images takes 0.12 s.
    """
    if spec.bundled:
        return
    file = spec.file("train", "images")
    for path in locate(spec, root).found.get(file, ())[:1]:
        _begun[path] = begin(partial(_read_file, spec, file, path))


def verify(spec: DatasetSpec, root: Path | str) -> list[FileReport]:
    """Check every copy of every file of ``spec`` under ``root``; none for the bundled digits."""
    located = locate(spec, root)
    reports = []
    for file, copies in located.found.items():
        reports += [_report(spec, file, path) for path in copies]
        if not copies:
            missing = raw_folder(spec, Path(root)) / file.name
            reports.append(FileReport(missing, None, "unknown", False, "missing"))
    return reports


def require_sound(spec: DatasetSpec, reports: Sequence[FileReport], hint: str) -> None:
    """Refuse files that :func:`verify` found missing or bad.

    Raises:
        DataError: names each file; ``hint`` is the suggested fix.
    """
    bad = [report for report in reports if report.problem]
    if bad:
        problems = "; ".join(f"{report.path.name}: {report.problem}" for report in bad)
        raise DataError(
            f"{len(bad)} of {len(reports)} files of {spec.title} are missing or bad: {problems}",
            hint,
        )


def sound_files(spec: DatasetSpec, root: Path, hint: str) -> list[Path]:
    """The files that :func:`read` uses, after verifying all; raises as :func:`require_sound`."""
    require_sound(spec, verify(spec, root), hint)
    return [copies[0] for copies in locate(spec, root).found.values()]


def glance(located: Located) -> str:
    """Check labels, and the size of images that are not gzipped: the first problem, or "".

    Three data sets have files of the same names and sizes, but no two have the same labels. Takes
    milliseconds, while :func:`verify` reads 55 MB. Checks only the copies that :func:`read` uses.
    """
    for file, copies in located.found.items():
        path, problem = copies[0], ""
        if file.kind == "labels":
            problem = _report(located.spec, file, path).problem
        elif path.suffix != ".gz" and (size := path.stat().st_size) != file.bytes:
            problem = f"{path} holds {size:,} bytes, not {file.bytes:,}"
        if problem:
            return problem
    return ""


def judge(file: SourceFile, content: idx.Content) -> Verdict:
    """Compare the checksum of a file with the catalogue's, or with the recorded one beside it.

    A new gzip of genuine bytes is genuine too. If no checksum of ``file`` is known, the content of
    another data set is bad.
    """
    recorded = _recorded(content.path.parent)
    archive_md5 = file.archive_md5 or recorded.get(file.archive)
    md5 = file.md5 or recorded.get(file.name)
    if content.compressed and archive_md5 == content.stored_md5:
        return "ok"
    if md5 is not None:
        return "ok" if md5 == content.raw_md5() else "bad"
    foreign = catalogue.owner(content.raw_md5()) is not None
    return "bad" if foreign or (content.compressed and archive_md5) else "unknown"


def record_checksums(folder: Path, md5s: dict[str, str]) -> str:
    """The text of ``checksums.json`` in ``folder`` with ``md5s`` (by file name) added."""
    files = {**_recorded(folder), **md5s}
    document = {"format": CHECKSUMS_FORMAT, "version": 1, "md5": dict(sorted(files.items()))}
    return json.dumps(document, indent=1) + "\n"


def _copies(file: SourceFile, folders: tuple[Path, ...]) -> Iterator[Path]:
    """The copies of ``file``: decompressed ones first, unless only the gzip can be verified."""
    dotted = file.name.replace("-idx", ".idx", 1)
    for folder in folders:
        plain = [folder / name for name in (file.name, dotted)]
        gzipped = [folder / f"{name}.gz" for name in (file.name, dotted)]
        known = file.md5 or not file.archive_md5 or file.name in _recorded(folder)
        yield from (p for p in (plain + gzipped if known else gzipped + plain) if is_regular(p))


def _recorded(folder: Path) -> dict[str, str]:
    """Checksums recorded in ``folder`` at extraction; none if the record is missing or broken."""
    try:
        document = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    md5s = document.get("md5") if isinstance(document, dict) else None
    if not isinstance(md5s, dict) or document.get("format") != CHECKSUMS_FORMAT:
        return {}
    return {str(name): md5 for name, md5 in md5s.items() if isinstance(md5, str)}


def _require(located: Located, *files: SourceFile) -> None:
    """Refuse missing files.

    Raises:
        DataError: names the files, and the folders that were searched.
    """
    missing = [file.name for file in files if file in located.missing]
    if not missing:
        return
    spec = located.spec
    where = ", ".join(str(folder) for folder in located.searched)
    root = located.searched[-1]
    absent = "" if root.is_dir() else f"; the directory {root} does not exist"
    raise DataError(
        f"{spec.title} is not on disk: no {' and no '.join(missing)}, gzipped or not, "
        f"in any of {where}{absent}",
        f"Download it with `mnist data fetch {spec.name}`, or set MNIST_DATA_DIR to a directory "
        "that has the files.",
    )


def _content(spec: DatasetSpec, file: SourceFile, path: Path) -> idx.Content:
    """The result of :func:`begin_reading`, once; else of :func:`_read_file`."""
    begun = _begun.pop(path, None)
    return begun.result() if begun else _read_file(spec, file, path)


def _read_file(spec: DatasetSpec, file: SourceFile, path: Path) -> idx.Content:
    """Read one copy; DataError if it is damaged or of another data set."""
    hint = (
        f"Fetch a good copy into the same directory with `mnist data fetch {spec.name}`, "
        "or name another data directory."
    )
    content = idx.load(path, limit=file.bytes, hint=hint)
    foreign = judge(file, content) == "bad"
    problem = _foreign(spec, file, content) if foreign else _misfit(spec, file, content)
    if problem:
        raise DataError(problem, hint)
    return content


def _foreign(spec: DatasetSpec, file: SourceFile, content: idx.Content) -> str:
    """The message for a file with the wrong contents, with its real data set if that is known."""
    expected = (file.archive_md5 if content.compressed else None) or file.md5
    expected = expected or _recorded(content.path.parent).get(file.name)
    other = catalogue.owner(content.stored_md5) or catalogue.owner(content.raw_md5())
    whose = f"; it is {other.title}'s" if other and other != spec else ""
    return (
        f"{content.path} is not the {spec.title} file: md5 {content.stored_md5}, "
        f"expected {expected or 'another'}{whose}"
    )


def _misfit(spec: DatasetSpec, file: SourceFile, content: idx.Content) -> str:
    """Why the content does not suit a file of this kind; "" if it does."""
    expected: tuple[int, ...]
    array, count, columns = content.array, spec.count(file.split), spec.label_columns
    if file.kind == "images":
        expected, kind = (count, HEIGHT, WIDTH), "uint8"
        fits = array.dtype == np.uint8
    else:
        expected, kind = (count,) if columns == 1 else (count, columns), "integers"
        fits = array.dtype.kind in "ui"
    if array.shape != expected or not fits:
        return (
            f"{content.path}: holds {array.dtype.name} of shape {array.shape}; {spec.title}'s "
            f"{file.split} {file.kind} are {kind} of shape {expected}"
        )
    if file.kind == "images":
        return ""
    labels = _labels(spec, content)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(spec.classes)))
    if not wrong.size:
        return ""
    return (
        f"{content.path}: label {labels[wrong[0]]} at position {wrong[0]} is not one of the "
        f"{len(spec.classes)} classes"
    )


def _labels(spec: DatasetSpec, content: idx.Content) -> npt.NDArray[np.int64]:
    """The labels (N,), which may be the first of several columns."""
    columns = content.array
    return (columns if spec.label_columns == 1 else columns[:, 0]).astype(np.int64)


def _report(spec: DatasetSpec, file: SourceFile, path: Path) -> FileReport:
    """Read and check one copy."""
    size = path.stat().st_size
    try:
        content = idx.load(path, limit=file.bytes)
    except DataError as error:
        return FileReport(path, size, "unknown", False, error.message)
    verdict, misfit = judge(file, content), _misfit(spec, file, content)
    problem = _foreign(spec, file, content) if verdict == "bad" else misfit
    return FileReport(path, size, verdict, not misfit, problem)
