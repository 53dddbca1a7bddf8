"""Runs a Python file of the user's own once, beside its own files; errors name its own lines.

Its output goes to stderr, since stdout may hold one JSON document.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mnist_cli.base.files import is_regular
from mnist_cli.errors import OwnCodeError, UsageError

MAX_BYTES = 1 << 24  # more than the source of any network
IMPORTING = "cannot be imported"
_YOURS = "Name the file of your network, as in path/to/net.py:Net."
_RUN: dict[Path, str] = {}
"""The files that have been run, with their SHA-256 at that time."""
_RUNNING: set[Path] = set()
_IMPORTED: dict[Path, set[str]] = {}
"""By file: the names of the modules that were first imported while it ran."""


@dataclass(frozen=True, eq=False)
class Source:
    """A file that has been run, and the SHA-256 of its bytes."""

    module: ModuleType
    sha256: str


@cache
def load(path: Path) -> Source:
    """Run a Python file as a separate module; it can import the files beside it.

    Raises:
        UsageError: the file is missing, not Python, or raised; the message has the user's own line.
    """
    if path in _RUNNING:
        raise UsageError(
            f"{path.name} trains or opens a run when it is imported, and so cannot be imported to "
            "build its network",
            "Put that code under: if __name__ == '__main__':",
        )
    source = _read(path)
    sha256 = hashlib.sha256(source).hexdigest()
    module = ModuleType(f"mnist_cli_own_{path.stem}_{sha256[:8]}")
    module.__file__ = str(path)
    _RUN[path] = sha256
    _RUNNING.add(path)
    before = set(sys.modules)
    try:
        _execute(module, source, path)
    finally:
        _RUNNING.remove(path)
    _IMPORTED.setdefault(path, set()).update(set(sys.modules) - before)
    for name in _beside(path).values():
        vars(sys.modules[name]).setdefault("print", _print_aside)
    return Source(module, sha256)


def changed() -> list[Path]:
    """The files that have changed since they were run."""
    return [path for path, sha256 in _RUN.items() if _differs(path, sha256)]


def changed_beside() -> list[Path]:
    """The files imported by those files that have changed since."""
    return [
        path.parent / name
        for path in _RUN
        for name, sha256 in siblings(path)
        if _differs(path.parent / name, sha256)
    ]


def _differs(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256
    except OSError:
        return False


def _execute(module: ModuleType, source: bytes, path: Path) -> None:
    vars(module).setdefault("print", _print_aside)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    with running(path.name, IMPORTING, path.parent), _arguments_hidden(path):
        exec(_compiled(source, path), vars(module))


@contextlib.contextmanager
def _arguments_hidden(path: Path) -> Iterator[None]:
    """Show the file no arguments: a parser at its top would take this program's for its own."""
    kept, sys.argv = sys.argv, [str(path)]
    try:
        yield
    finally:
        sys.argv = kept


def own_globals(module: ModuleType) -> dict[str, object]:
    """The names that a file defines or imports when run, with their values, apart from modules."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("__") and name != "print" and not isinstance(value, ModuleType)
    }


def run_again(path: Path, module: ModuleType) -> ModuleType:
    """Run a file that has been run as ``module`` once more, with its prints suppressed.

    Returns the first module if the second run fails.
    """
    other = ModuleType(f"{module.__name__} again")
    other.__file__ = str(path)
    vars(other)["print"] = lambda *_values, **_options: None
    try:
        with warnings.catch_warnings(action="ignore"):
            _execute(other, _read(path), path)
    except UsageError:
        return module
    finally:
        del sys.modules[other.__name__]
    return other


def _read(path: Path) -> bytes:
    try:
        if not is_regular(path):
            raise UsageError(f"no such file: {path}", _YOURS)
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes", _YOURS)
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", _YOURS) from error
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"{str(path)!r} is not a valid file name", _YOURS) from error


def _compiled(source: bytes, path: Path) -> Any:
    try:
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        place = f", line {error.lineno}" if error.lineno else ""
        hint = "Correct that line." if place else "Save the file as UTF-8 text."
        what = f"{path.name}{place}: {error.msg}" + (f": {line:.120}" if line else "")
        raise UsageError(what, hint) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path} is not readable Python: {error}", _YOURS) from error


def _print_aside(*values: object, file: Any = None, **options: Any) -> None:
    write = print
    write(*values, file=sys.stderr if file is None else file, **options)


# --- errors of the user's own code


@contextlib.contextmanager
def running(what: str, doing: str, folder: Path) -> Iterator[None]:
    """Run the user's code: beside its own files, its output on stderr, its errors as UsageErrors.

    In the block, its folder is first in ``sys.path``, as for a script. Afterwards it is last, so
    that no file there replaces a module that this program imports later.

    Args:
        what: the network or the file, for messages.
        doing: what fails, such as "cannot be built".
        folder: of the file.

    Raises:
        OwnCodeError: the code raised; the message has the user's own line.
    """
    beside = str(folder)
    sys.path.insert(0, beside)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        failure = OwnCodeError(
            f"{what} {doing}: {_explained(error, beside)}", _way_out(error, doing)
        )
        _release_hooks(error)
        raise failure from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(beside)
        if beside not in sys.path:
            sys.path.append(beside)


def _way_out(error: BaseException, doing: str) -> str:
    """What to do about a failed import, or missing arguments; empty for other errors."""
    if isinstance(error, ModuleNotFoundError):
        return (
            "The file can import modules beside it, installed packages, and modules in the folders "
            "of PYTHONPATH, such as the root of its project."
        )
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "The file is run on its own, outside a package: import by name, without the dot."
    if isinstance(error, TypeError) and "__init__() missing" in str(error):
        return (
            "Give these arguments defaults, or name a subclass in the file that passes them: "
            "class Mine(Net): def __init__(self): super().__init__(…)."
        )
    if doing == IMPORTING and not isinstance(error, NameError | ImportError):
        return (
            "The program runs the file to get the class. Put code that trains or reads data under "
            "`if __name__ == '__main__':`."
        )
    return ""


def blamed(error: BaseException) -> UsageError | None:
    """The error that a user's file raised after its trial; None if the file is not its cause.

    The file is the cause if its lines are in the traceback and no line of this program follows.
    """
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    for path in _RUN:
        if str(path) in names and not any(map(_is_ours, names[_last(names, str(path)) :])):
            explained = _explained(error, str(path.parent))
            failure = OwnCodeError(f"the network in {path.name} failed: {explained}")
            failure.__cause__ = error  # for its traceback
            _release_hooks(error)
            return failure
    return None


def _release_hooks(error: BaseException) -> None:
    """End the hooks of a checkpoint that failed.

    Before torch 2.14 the hooks stay in force as long as the error's frames live. Every later
    backward pass of the process, in a notebook for example, runs them.
    """
    torch = sys.modules.get("torch")
    if torch is not None and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14):
        traceback.clear_frames(error.__traceback__)


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parent.parent)


def own_line(error: BaseException) -> str:
    """The last line of a user's file in the error's traceback, in words; empty without one."""
    return next(filter(None, (_last_own_line(error, str(path.parent)) for path in _RUN)), "")


def _explained(error: BaseException, folder: str) -> str:
    """The error, with the last line of the user's code that led to it."""
    line = _last_own_line(error, folder)
    return f"{line}: {reason(error)}" if line else reason(error)


def _last_own_line(error: BaseException, folder: str) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_beside(frame.filename, folder)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).name}, line {last.lineno}, in {last.name}: {last.line}"


def reason(error: BaseException) -> str:
    """An error's type and the first line of its message, and the next if the first announces it."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return f"{type(error).__name__}: {said:.300}" if said else type(error).__name__


def _is_beside(filename: str, folder: str) -> bool:
    """Whether a file is the user's: in that folder, not installed, and not part of this program."""
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
    """Relative paths and SHA-256 of the files beside it that it has imported."""
    return tuple(
        (one.relative_to(path.parent).as_posix(), hashlib.sha256(one.read_bytes()).hexdigest())
        for one in sorted(_beside(path), key=lambda one: one.parts)
        if one.is_file()
    )


def _beside(path: Path) -> dict[Path, str]:
    """The files in its folder that it imports, also through others, with their modules' names.

    The caller's script and what that alone imports lie there too, but do not count.
    """
    there = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str)
        if file.endswith(".py") and file != str(path) and _is_beside(file, str(path.parent))
    }
    found: dict[Path, str] = {}
    wanted = _IMPORTED.get(path, set()) | _imports(path, "")
    while names := [name for name in there if name in wanted and there[name] not in found]:
        for name in names:
            found[there[name]] = name
            wanted |= _imports(there[name], getattr(sys.modules[name], "__package__", None) or "")
    return found


def _imports(path: Path, package: str) -> set[str]:
    """The names that a file's import statements may mean: modules, or values of modules."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            home = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            names |= {home, *(f"{home}.{alias.name}" for alias in node.names)}
    return {name.rsplit(".", n)[0] for name in names for n in range(name.count(".") + 1)}
