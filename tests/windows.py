"""Imitates Windows on Linux.

``python tests/windows.py train …`` runs the program so, ``PYTHONPATH=tests python -m pytest -p
windows …`` the tests.

For mnist_cli, the modules, attributes and signals that Windows lacks are missing, `sys.platform`
is "win32", `os.kill` ends processes, a file that is open cannot be renamed or removed, some file
names are refused, worker processes are spawned, and opening a text file without an encoding is an
error. torch and the standard library see the real system.
"""

from __future__ import annotations

import ast
import builtins
import errno
import multiprocessing
import os
import platform
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from os import PathLike
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

POSIX_MODULES = frozenset(
    (
        *("crypt", "curses", "fcntl", "grp", "nis", "posix", "pty"),
        *("pwd", "readline", "resource", "spwd", "syslog", "termios", "tty"),
    )
)
COMPLAINT = "not on Windows:"
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.I)


def missing(module: str) -> frozenset[str]:
    """The names that a module of the standard library has on Linux and not on Windows."""
    return _names_on(module, "linux") - _names_on(module, "win32")


def _names_on(module: str, platform: str) -> frozenset[str]:
    """The names that a module has on a platform, by mypy's typeshed."""
    stubs = Path(str(metadata.distribution("mypy").locate_file("mypy/typeshed/stdlib")))
    found = (stubs / module / "__init__.pyi", stubs / f"{module}.pyi")
    source = next(path for path in found if path.is_file()).read_text(encoding="utf-8")
    return frozenset(_names(ast.parse(source).body, platform))


def _names(body: Sequence[ast.stmt], platform: str) -> list[str]:
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.If):
            chosen = _holds(statement.test, platform)
            names += _names(statement.body if chosen else statement.orelse, platform)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.append(statement.name)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
        elif isinstance(statement, ast.Assign):
            names += [one.id for one in statement.targets if isinstance(one, ast.Name)]
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names += [one.asname or one.name for one in statement.names]
    return names


def _holds(test: ast.expr, platform: str) -> bool:
    seen = {"platform": platform, "version_info": sys.version_info}
    names = {"sys": SimpleNamespace(**seen), "TYPE_CHECKING": False}
    return bool(eval(ast.unparse(test), names))  # noqa: S307 - typeshed's own conditions


class _Instead(ModuleType):
    """A module of the standard library without some names, and with others in their place."""

    def __init__(self, real: ModuleType, hidden: frozenset[str] = frozenset(), **other: object):
        vars(self).update(other, __name__=real.__name__, _real=real, _hidden=hidden, _was={})

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["_hidden"]:
            raise AttributeError(f"{COMPLAINT} {self.__name__}.{name}")
        return getattr(vars(self)["_real"], name)

    def __setattr__(self, name: str, value: object) -> None:
        real = vars(self)["_real"]
        vars(self)["_was"].setdefault(name, getattr(real, name, None))
        setattr(real, name, value)

    def __delattr__(self, name: str) -> None:
        """Put back what it was, as pytest's monkeypatch means it: the name is not of this module."""
        setattr(vars(self)["_real"], name, vars(self)["_was"].pop(name))


def _kill(pid: int, number: int) -> None:
    if number in (0, 1):
        raise AssertionError(f"{COMPLAINT} os.kill(pid, {number}) sends Ctrl-C or Ctrl-Break there")
    os.kill(pid, signal.SIGKILL)


def _open_process(_access: int, _inherit: bool, pid: int) -> int:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise OSError(errno.EINVAL, "the parameter is incorrect") from None
    return pid


def _stand_ins() -> dict[str, ModuleType]:
    """What mnist_cli gets when it imports these modules."""
    winapi = ModuleType("_winapi")
    vars(winapi).update(SYNCHRONIZE=0x100000, WAIT_OBJECT_0=0, WAIT_TIMEOUT=258)
    vars(winapi).update(
        OpenProcess=_open_process,
        WaitForSingleObject=lambda _handle, _milliseconds: 258,
        CloseHandle=lambda _handle: None,
    )
    return {
        "os": _Instead(os, missing("os"), name="nt", kill=_kill),
        "signal": _Instead(signal, missing("signal")),
        "sys": _Instead(sys, platform="win32"),
        "platform": _Instead(platform, system=lambda: "Windows"),
        "_winapi": winapi,
    }


def simulate(*folders: Path) -> None:
    """Be Windows for mnist_cli, and for what lies in ``folders``, to the end of this process."""
    concerned = (Path(__file__).parent.parent / "mnist_cli", *folders)
    inside = tuple(f"{folder.resolve()}{os.sep}" for folder in concerned)
    instead, really = _stand_ins(), builtins.__import__

    def import_(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level=0):
        if not level and str((globals or {}).get("__file__")).startswith(inside):
            if name.partition(".")[0] in POSIX_MODULES:
                raise ModuleNotFoundError(f"{COMPLAINT} {name}", name=name)
            if name in instead:
                return instead[name]
        return really(name, globals, locals, fromlist, level)

    builtins.__import__ = import_
    warnings.filterwarnings("error", category=EncodingWarning, module="mnist_cli")
    multiprocessing.set_start_method("spawn", force=True)
    sys.addaudithook(partial(_watch, inside[:1]))


def _watch(ours: tuple[str, ...], event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what Windows would refuse mnist_cli to do with files, and say so on stderr."""
    if event not in {"open", "os.mkdir", "os.rename", "os.remove"} or not _by(ours):
        return
    paths = [os.fsdecode(one) for one in arguments[:2] if isinstance(one, str | bytes | PathLike)]
    if event == "open":
        mode, flags = str(arguments[1] or ""), arguments[2]
        made = set(mode) & set("wxa") or (not mode and flags & os.O_CREAT)
        paths = paths[:1] if made else []
    for path in paths:
        if _FORBIDDEN.search(Path(path).name) and path != os.devnull:
            raise _refused(f"the file name {path}", errno.EINVAL)
        if event in {"os.rename", "os.remove"} and os.path.realpath(path) in _open_files():
            raise _refused(f"{event} of an open file, {path}", errno.EACCES)


def _by(ours: tuple[str, ...]) -> bool:
    """Whether mnist_cli does it, itself or through another module; filelock knows Windows."""
    names, frame = [], sys._getframe(2)
    while frame is not None:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return any(name.startswith(ours) for name in names) and not any("filelock" in n for n in names)


def _open_files() -> set[str]:
    """What this process has open, or mapped into its memory."""
    found = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if os.path.lexists(one)}
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return found | {fields[5] for line in mapped if len(fields := line.split(maxsplit=5)) == 6}


def _refused(what: str, number: int) -> OSError:
    sys.stderr.write(f"{COMPLAINT} {what}\n")
    return OSError(number, f"{COMPLAINT} {what}")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Be Windows for a whole pytest: ``PYTHONPATH=tests python -m pytest -p windows …``."""
    simulate(Path(__file__).parent)


if __name__ == "__main__":
    simulate()
    from mnist_cli.__main__ import main

    sys.argv[0] = "mnist"
    main()
