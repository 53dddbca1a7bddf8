"""A Python file of the user's own: run once, beside its own files, its errors told by its own lines.

What it prints goes to stderr, since stdout may hold one JSON document.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mnist_cli.base.files import is_regular
from mnist_cli.errors import UsageError

MAX_BYTES = 1 << 24  # no network's source is as large
_RUN: list[Path] = []


@dataclass(frozen=True, eq=False)
class Source:
    """A file that has been run, and the SHA-256 of the bytes that were."""

    module: ModuleType
    sha256: str


@cache
def load(path: Path) -> Source:
    """Run a Python file as a module of its own; what lies beside it can be imported.

    Raises:
        UsageError: missing, no Python, or it raised; the user's own line is told.
    """
    source = _read(path)
    sha256 = hashlib.sha256(source).hexdigest()
    module = ModuleType(f"mnist_cli_own_{path.stem}_{sha256[:8]}")
    module.__file__ = str(path)
    _RUN.append(path)
    vars(module)["print"] = _print_aside
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    with running(path.name, "cannot be imported", path.parent):
        exec(_compiled(source, path), vars(module))
    return Source(module, sha256)


def _read(path: Path) -> bytes:
    try:
        if not is_regular(path):
            raise UsageError(f"there is no file {path}", "Name yours: --model path/to/net.py:Net.")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes: no network's source")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"{str(path)!r} cannot be the name of a file") from error


def _compiled(source: bytes, path: Path) -> Any:
    try:
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise UsageError(
            f"{path.name}, line {error.lineno}: {error.msg}" + (f": {line:.120}" if line else ""),
            "Python cannot read the file; mend that line.",
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path} is no Python that can be read: {error}") from error


def _print_aside(*values: object, file: Any = None, **options: Any) -> None:
    write = print
    write(*values, file=sys.stderr if file is None else file, **options)


# --- what may be raised in the user's own code


@contextlib.contextmanager
def running(what: str, doing: str, folder: Path) -> Iterator[None]:
    """Run the user's code: beside its own files, its prints on stderr, its errors told.

    While it runs, its folder comes first, as Python does it for a script; afterwards last, so
    that no file there stands in for a module that this program has yet to import.
    """
    beside = str(folder)
    sys.path.insert(0, beside)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{what} {doing}: {_told(error, beside)}", "See the whole traceback with --debug."
        ) from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(beside)
        if beside not in sys.path:
            sys.path.append(beside)


def blamed(error: BaseException) -> UsageError | None:
    """An error that a file raised once it was tried, in its own words; None if it is not the file's.

    It is where its lines led to the failure, and nothing of this program lies below them.
    """
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    for path in _RUN:
        if str(path) in names and not any(map(_is_ours, names[_last(names, str(path)) :])):
            failure = UsageError(
                f"the network in {path.name} failed: {_told(error, str(path.parent))}",
                "See the whole traceback with --debug.",
            )
            failure.__cause__ = error  # for --debug
            return failure
    return None


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parent.parent)


def _told(error: BaseException, folder: str) -> str:
    """The error, and the last line of the user's own that led to it."""
    reason = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {reason:.300}" if reason else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_beside(frame.filename, folder)
    ]
    if not frames:
        return text
    last = frames[-1]
    return f"{Path(last.filename).name}, line {last.lineno}, in {last.name}: {last.line}: {text}"


def _is_beside(filename: str, folder: str) -> bool:
    """Whether a file is the user's: in that folder, and neither ours nor an installed one."""
    path = Path(filename)
    others = (Path(sys.prefix), Path(sys.base_prefix))
    return (
        path.is_relative_to(folder)
        and not {"site-packages", "dist-packages"} & set(path.parts)
        and not _is_ours(filename)
        and not any(path.is_relative_to(other) for other in others)
    )


@cache
def siblings(path: Path) -> tuple[tuple[str, str], ...]:
    """The files beside it that are imported by now: their names from there, and their SHA-256."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    beside = [
        Path(file)
        for file in files
        if isinstance(file, str) and file.endswith(".py") and _is_beside(file, str(path.parent))
    ]
    return tuple(
        (one.relative_to(path.parent).as_posix(), hashlib.sha256(one.read_bytes()).hexdigest())
        for one in sorted(beside, key=lambda one: one.parts)
        if one != path and one.is_file()
    )
