"""Atomic writes: a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from systems import WINDOWS, needs_posix

from mnist_cli.base.files import (
    atomic_write,
    check_writable,
    clear_stale,
    host_name,
    is_folder,
    is_regular,
    is_there,
    make_folder,
    replacing,
    sync_folder,
    temporary_for,
)
from mnist_cli.errors import OutputError


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failure(number: int) -> Callable[..., Any]:
    """A function that raises the system's error of this number."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    names = ("", "file", "dangling", "nowhere", "file/below", "null\0byte")
    seen = {n: [ask(tmp_path / n) for ask in (is_there, is_folder, is_regular)] for n in names}
    assert seen == {
        "": [True, True, False],
        "file": [True, False, True],
        **dict.fromkeys(names[2:], [False] * 3),
    }


@pytest.mark.parametrize("ask", [is_there, is_folder, is_regular])
def test_a_path_that_cannot_be_looked_up_is_an_error_on_every_python(
    tmp_path: Path, ask: Callable[[Path], bool]
) -> None:
    with pytest.raises(OSError, match="File name too long") as raised:
        ask(tmp_path / ("x" * 300))
    assert raised.value.errno == errno.ENAMETOOLONG


def test_bytes_and_text_replace_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    atomic_write(target, b"old, and longer")
    atomic_write(target, "new ü")
    assert target.read_bytes() == "new ü".encode()
    assert entries(tmp_path) == ["a.bin"]


@pytest.mark.skipif(WINDOWS or os.geteuid() != 0, reason="only root makes device files")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    null, full = tmp_path / "null", tmp_path / "full"
    for path, minor in ((null, 3), (full, 7)):
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    try:
        null.write_bytes(b"")
    except PermissionError:
        pytest.skip("device files do not work in this folder (nodev)")
    atomic_write(null, b"anything")
    with pytest.raises(OutputError, match="the disk is full"):
        atomic_write(full, b"anything")
    assert all(stat.S_ISCHR(device.stat().st_mode) for device in (null, full))
    assert entries(tmp_path) == ["full", "null"]


def test_the_order_is_write_fsync_rename_fsync_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between any two steps must find one whole file; see the module's docstring."""
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    seen: list[tuple[str, bytes]] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (seen.append((_kind(fd), target.read_bytes())), fsync(fd))[1]
    )
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append(_named(a)), replace(a, b))[1])
    atomic_write(target, b"new")
    steps = [("file of 3", b"old"), ("rename", b"new"), ("folder", b"new")]
    assert seen == (steps[:2] if WINDOWS else steps)


def _kind(descriptor: int) -> str:
    status = os.fstat(descriptor)
    return "folder" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_size}"


def _named(path: Path) -> tuple[str, bytes]:
    return "rename", path.read_bytes()


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "larger than this system allows"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, words: str
) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    owner: Any = os if step == "fsync" else Path
    monkeypatch.setattr(owner, {"write": "open"}.get(step, step), failure(number))
    with pytest.raises(OutputError) as caught:
        atomic_write(target, b"new")
    monkeypatch.undo()
    assert words in caught.value.message
    assert str(target) in caught.value.message
    assert "3 bytes were needed" in caught.value.message
    assert caught.value.hint
    assert target.read_bytes() == b"old"
    assert entries(tmp_path) == ["a.bin"]


def test_a_block_that_fails_leaves_the_old_file_and_one_that_ends_the_new(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    with contextlib.suppress(ZeroDivisionError), replacing(target) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    with replacing(target) as file:
        file.write(b"new, ")
        assert target.read_bytes() == b"old"
        file.write(b"in two pieces")
    assert target.read_bytes() == b"new, in two pieces"
    assert entries(tmp_path) == ["a.bin"]


@needs_posix
def test_a_folder_that_cannot_be_synced_is_not_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@needs_posix
def test_a_failed_sync_of_a_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failure(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        atomic_write(tmp_path / "missing" / "a", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="not a folder"):
        atomic_write(tmp_path / "file" / "a", b"")
    with pytest.raises(OutputError, match="cannot write into"):
        check_writable(tmp_path / "file")


def left_by(folder: Path, pid: int, host: str = "") -> str:
    """The temporary file of a process, half written."""
    path = folder / f".last.pt.{host or host_name()}.{pid}.tmp"
    path.write_bytes(b"half")
    return path.name


def test_temporaries_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [left_by(tmp_path, os.getpid()), left_by(tmp_path, os.getppid())]
    kept += [f".last.pt.{dead.pid}.tmp", ".last.pt.tmp", "last.pt"]
    for name in kept[2:]:
        (tmp_path / name).write_bytes(b"not a temporary file of this program")
    left_by(tmp_path, dead.pid)
    clear_stale(tmp_path)
    assert entries(tmp_path) == sorted(kept)
    left = left_by(tmp_path, dead.pid)
    atomic_write(tmp_path / "last", b"")  # removes only what stands for the same file
    assert left in entries(tmp_path)
    atomic_write(tmp_path / "last.pt", b"")  # under this process's own temporary name
    assert entries(tmp_path) == sorted(["last", *kept[1:]])


@needs_posix
def test_the_holder_of_the_lock_knows_that_a_zombie_is_dead(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, and still to be waited for
    kept = [left_by(tmp_path, os.getpid()), left_by(tmp_path, killed.pid, "another-machine")]
    left = left_by(tmp_path, killed.pid)
    clear_stale(tmp_path)
    assert entries(tmp_path) == sorted([*kept, left])
    clear_stale(tmp_path, alone=True)
    assert entries(tmp_path) == sorted(kept)
    killed.communicate()


@pytest.mark.parametrize("host", ["gpu-17.cluster.example.org", "Björn's Mac", "a.123", "x" * 200])
def test_temporaries_of_another_machine_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """On a shared folder their writer may be alive, whatever its process id means here."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(os, "getpid", lambda: dead.pid)
    left = temporary_for(tmp_path / "last.pt")
    left.touch()
    monkeypatch.undo()
    clear_stale(tmp_path)
    assert left.exists()
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    clear_stale(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("nameless", [True, False])
def test_check_writable_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    for folder in (Path("a/b"), Path(), tmp_path / "a" / "b"):
        check_writable(folder)
        assert entries(tmp_path) == []


@needs_posix
@pytest.mark.parametrize("name", ["file/a/b", "dangling/a", "x" * 300 + "/a"])
def test_check_writable_refuses_a_folder_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(OutputError, match="cannot write into"):
        check_writable(tmp_path / name)


def test_missing_parents_are_made_on_request(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b" / "c", b"1", parents=True)
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"1"


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert entries(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("nameless", [True, False])
def test_check_writable_reports_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:  # as on other systems, and on some file systems
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, "fsync", failure(errno.ENOSPC))
    with pytest.raises(OutputError, match="disk is full"):
        check_writable(tmp_path)
    assert entries(tmp_path) == []
