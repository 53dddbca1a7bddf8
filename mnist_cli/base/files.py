"""Writing files so that a crash at any moment leaves the old one or the new one, whole.

The order is: write a temporary file in the same folder, fsync it, rename it over the target,
fsync the folder. Without the first fsync a power cut may leave an empty file under the new name;
without the second it may undo the rename.

What differs between Linux, macOS and Windows in all this is decided here.
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

_TEMPORARY = re.compile(r"^\..+\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.tmp$")

_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds between attempts to replace a file that another program reads, on Windows."""

_IN_USE = 32
"""What Windows calls ERROR_SHARING_VIOLATION."""

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space"),
    errno.EFBIG: ("the file is larger than this system allows", "Raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "Choose another folder"),
    errno.EACCES: ("permission denied", "Choose another folder"),
    errno.EPERM: ("not permitted", "Choose another folder"),
    errno.ENOENT: ("there is no such folder", "Make the folder first, or choose another"),
    errno.EEXIST: ("it is a file, not a folder", "Choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "Choose another name"),
    errno.ENOTDIR: ("a part of the path is not a folder", "Choose another folder"),
}


def status(path: Path) -> os.stat_result | None:
    """What the system says of a path, links followed; None where nothing has that name.

    ``Path.exists``, ``is_dir`` and ``is_file`` hide every error from Python 3.14 on, and "Permission
    denied" would read "is not there".

    Raises:
        OSError: the system does not say.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte
        return None


def is_there(path: Path) -> bool:
    """Whether there is something of that name; see :func:`status`."""
    return status(path) is not None


def is_folder(path: Path) -> bool:
    """Whether it is a folder; see :func:`status`."""
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_regular(path: Path) -> bool:
    """Whether it is a regular file; see :func:`status`."""
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def explain_os_error(
    error: OSError, path: Path, doing: str, size: int | None = None
) -> OutputError:
    """The one message for a failed write; ``size`` is how many bytes were needed."""
    cause, way_out = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "See the cause"))
    if getattr(error, "winerror", None) == _IN_USE:
        cause, way_out = "another program has it open", "Close it there"
    needed = f" ({size:,} bytes were needed)" if size is not None else ""
    return OutputError(f"cannot {doing} {path}: {cause}{needed}", f"{way_out}.")


def atomic_write(path: Path, data: bytes | str) -> None:
    """Replace ``path`` by ``data`` in one step that survives a crash and a power cut.

    A character device, such as ``/dev/null``, is written to and stays what it is.

    Raises:
        OutputError: it cannot be written; the file is the old one, whole (or the new one, if only
            its name could not be made durable), and no temporary is left.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        with path.open("wb") if _is_device(path) else replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise explain_os_error(error, path, "write", len(content)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes ``path`` at the end, unless an error ends the block.

    For content that arrives in pieces; see :func:`atomic_write` for what is in memory.

    Raises:
        OSError: it cannot be written; no temporary is left.
    """
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


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except (OSError, ValueError):  # nothing there, or what writing will complain about
        return False


def sync(file: IO[bytes]) -> None:
    """Make what was written to ``file`` survive a power cut."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        # fsync of macOS leaves data in the drive's cache; some file systems know nothing else.
        with contextlib.suppress(OSError):
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which may exist.

    On Windows this fails while another program has ``target`` open, as a virus scanner does with
    what has just been written: it is tried again for a second and a half.

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
    """Make what was created or renamed in ``folder`` survive a power cut; not on Windows."""
    if sys.platform == "win32":  # it opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot sync a folder: nothing more can be done there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def temporary_for(path: Path) -> Path:
    """The name under which this process writes what is to be ``path``, in the same folder."""
    return path.with_name(f".{path.name}.{host_name()}.{os.getpid()}.tmp")


def host_name() -> str:
    """This machine's name in letters, digits and hyphens, as names of files may hold it.

    A process id says nothing on another machine that shares the file system.
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:64] or "-"


def stale_temporaries(folder: Path, *, alone: bool = False) -> Iterator[Path]:
    """Temporary files in ``folder`` whose writers ran on this machine and are no longer alive.

    Args:
        folder: where to look.
        alone: this process holds a lock that every writer in the folder needs, so that all other
            writers of this machine are dead, even one that is still listed: killed, and not yet
            waited for by its parent.
    """
    for path in folder.iterdir():
        match = _TEMPORARY.match(path.name)
        if match and match["host"] == host_name():
            pid = int(match["pid"])
            if pid != os.getpid() if alone else not alive(pid):
                yield path


def clear_stale(folder: Path, *, alone: bool = False) -> None:
    """Remove what :func:`stale_temporaries` finds."""
    for path in stale_temporaries(folder, alone=alone):
        with contextlib.suppress(OSError):
            path.unlink()


def alive(pid: int) -> bool:
    """Whether a process of this machine is there, be it another user's."""
    if pid == os.getpid():
        return True
    try:
        if sys.platform == "win32":
            return _runs_on_windows(pid)
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no number of a process is as large
        return False
    except OSError:
        return True
    return True


def _runs_on_windows(pid: int) -> bool:
    """Whether a process runs, where ``os.kill(pid, 0)`` would send it Ctrl-C.

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
    """Find out now, not after the first epoch, whether files can be written in ``folder``.

    Raises:
        OutputError: they cannot.
    """
    probe = temporary_for(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(b"\0" * 4096)
            sync(file)
    except OSError as error:
        raise explain_os_error(error, folder, "write into") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
