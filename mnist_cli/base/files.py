"""Atomic writes: after a crash at any moment, a file is the old one or the new one, whole.

The order is: write a temporary file in the same folder, fsync it, rename it to the target, fsync
the folder. Without the first fsync, a power cut may leave an empty file under the new name.
Without the second, it may undo the rename.

This module handles the differences between Linux, macOS and Windows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mnist_cli.errors import OutputError

_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.tmp$")

_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds between attempts to replace a file that another program has open, on Windows."""

_IN_USE = 32
"""ERROR_SHARING_VIOLATION of Windows."""

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space"),
    errno.EFBIG: ("the file is larger than this system allows", "Raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "Choose another folder"),
    errno.EACCES: ("permission denied", "Choose another folder"),
    errno.EPERM: ("not permitted", "Choose another folder"),
    errno.ENOENT: ("the folder does not exist", "Create the folder first, or choose another"),
    errno.EEXIST: ("it is a file, not a folder", "Choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "Choose another name"),
    errno.ENOTDIR: ("a part of the path is not a folder", "Choose another folder"),
}


def from_home(path: str) -> str:
    """A path with the home folder in place of a ``~`` at its start; unchanged without a home."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser fails without a home)


def status(path: Path) -> os.stat_result | None:
    """The status of a path, links followed; None if it does not exist.

    From Python 3.14 on, ``Path.exists``, ``is_dir`` and ``is_file`` hide every error, so that
    "Permission denied" would look like a missing file.

    Raises:
        OSError: the system does not say whether it exists.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte
        return None


def is_there(path: Path) -> bool:
    """Whether a path exists; see :func:`status`."""
    return status(path) is not None


def absence(path: Path) -> str:
    """The predicate of a message about a missing path: it does not exist, or links to no file."""
    try:
        target = path.readlink()
    except (OSError, ValueError):
        return "does not exist"
    way_out = ": run git annex get" if "annex" in target.parts else ""
    return f"is a link to {str(target)!r}, which does not exist{way_out}"


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; see :func:`status`."""
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file; see :func:`status`."""
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def explain_os_error(
    error: OSError, path: Path, doing: str, size: int | None = None
) -> OutputError:
    """The error to raise for a failed write; ``size`` is the number of bytes needed."""
    cause, way_out = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "See the cause"))
    if getattr(error, "winerror", None) == _IN_USE:
        cause, way_out = "another program has it open", "Close it there"
    needed = f" ({size:,} bytes were needed)" if size is not None else ""
    return OutputError(f"cannot {doing} {path}: {cause}{needed}", f"{way_out}.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the name ``path`` when the block ends without an error.

    Raises:
        OSError: it cannot be written. No temporary file is left.
    """
    with contextlib.suppress(OSError):
        clear_stale(path.parent, of=path.name)  # what killed writers have left
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as file:
            yield file
            sync(file)
        replace(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def atomic_write(path: Path, data: bytes | str, *, parents: bool = False) -> None:
    """Replace the content of ``path`` by ``data`` in one step; see :func:`replacing`.

    A character device, such as ``/dev/null``, is written to and remains a device. With
    ``parents``, missing folders are made.

    Raises:
        OutputError: it cannot be written. The file is the old one, whole, or the new one if only
            its name could not be made durable. No temporary file is left.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") if _is_device(path) else replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise explain_os_error(error, path, "write", len(content)) from error


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except (OSError, ValueError):  # no such file, or an error that writing reports
        return False


def sync(file: IO[bytes]) -> None:
    """Make the content of ``file`` survive a power cut."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves data in the drive's cache. Some file systems offer nothing else.
        with contextlib.suppress(OSError):
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which may exist.

    On Windows this fails while another program, such as a virus scanner, has ``target`` open.
    It is then tried again for a second and a half.

    Raises:
        OSError: it cannot be renamed.
    """
    for pause in _PAUSES if sys.platform == "win32" else ():
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(pause)
    source.replace(target)


def sync_folder(folder: Path) -> None:
    """Make new and renamed files in ``folder`` survive a power cut; does nothing on Windows.

    Raises:
        OSError: the folder cannot be synced.
    """
    if sys.platform == "win32":  # Windows does not open folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def temporary_for(path: Path) -> Path:
    """This process's temporary name for ``path``, in the same folder."""
    return path.with_name(f".{path.name}.{host_name()}.{os.getpid()}.tmp")


def host_name() -> str:
    """This machine's name, in letters, digits and hyphens.

    Machines that share a folder need it: a process id has no meaning on another machine.
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:64] or "-"


def clear_stale(folder: Path, *, of: str = "", alone: bool = False) -> None:
    """Remove the temporary files in ``folder`` whose writers, on this machine, have ended.

    Args:
        folder: where to look.
        of: the name of the file that they were to replace; empty for any file.
        alone: this process holds a lock that every writer in the folder needs. All other writers
            of this machine are then dead, even if the system still lists one as a zombie.
    """
    for path in folder.iterdir():
        match = _TEMPORARY.match(path.name)
        if match and match["host"] == host_name() and of in ("", match["name"]):
            pid = int(match["pid"])
            if pid != os.getpid() if alone else not alive(pid):
                with contextlib.suppress(OSError):
                    path.unlink()


def alive(pid: int) -> bool:
    """Whether a process of this machine, of any user, is running."""
    try:
        if sys.platform == "win32":
            return _runs_on_windows(pid)
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the number is too large for a process
        return False
    except OSError:
        return True
    return True


def _runs_on_windows(pid: int) -> bool:
    """Whether a process runs on Windows, where ``os.kill(pid, 0)`` would send Ctrl-C.

    Raises:
        PermissionError: it is another user's.
    """
    running = False
    if sys.platform == "win32":
        import _winapi

        try:
            handle = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, pid)
        except PermissionError:
            raise
        except OSError:
            return False
        running = _winapi.WaitForSingleObject(handle, 0) == _winapi.WAIT_TIMEOUT
        _winapi.CloseHandle(handle)
    return running


def check_writable(folder: Path) -> None:
    """Check that files can be written in ``folder``, or where it would be made; make no folder.

    Raises:
        OutputError: they cannot.
    """
    try:
        with _probe(_nearest(folder)) as file:
            file.write(b"\0" * 4096)
            sync(file)
    except OSError as error:
        raise explain_os_error(error, folder, "write into") from error


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[IO[bytes]]:
    """A file to write in ``folder``, gone afterwards.

    It has no name where the system and the file system allow that: it is then gone even if the
    process is killed. :mod:`tempfile` does so too, but waits for ever on Windows if it may not
    write, and unlinks an open file, which some file systems refuse.
    """
    if (descriptor := _open_nameless(folder)) is not None:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        return
    path = temporary_for(folder / "probe")
    try:
        with path.open("wb") as file:
            yield file
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _open_nameless(folder: Path) -> int | None:
    """The descriptor of a new file without a name; None if system or folder do not allow one."""
    nameless = getattr(os, "O_TMPFILE", 0)  # Linux
    with contextlib.suppress(OSError):
        return os.open(folder, os.O_RDWR | nameless, 0o600) if nameless else None
    return None


def _nearest(folder: Path) -> Path:
    """The folder, or else its nearest parent that exists."""
    for one in (folder, *folder.absolute().parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            one.lstat()
            return one
    return folder


def make_folder(folder: Path) -> None:
    """Make a folder to write into, with its parents.

    Raises:
        OutputError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, folder, "write into") from error
    check_writable(folder)


@contextlib.contextmanager
def removing_empty(folder: Path, *, besides: str = "") -> Iterator[None]:
    """At the end, remove the folder and its parents, if the block made them and they are empty.

    Args:
        folder: the folder that the block makes.
        besides: the name of a file in the folder that does not count, and is removed with it.
    """
    made = [one for one in (folder, *folder.parents) if not is_there(one)]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if made and [path.name for path in folder.iterdir()] == [besides]:
                (folder / besides).unlink()
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
