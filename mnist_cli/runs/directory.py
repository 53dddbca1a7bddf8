"""Run directories, ``runs/NNNN-<dataset>-<model>/``: their files, and which process writes them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mnist_cli.base.files import (
    absence,
    alive,
    clear_stale,
    explain_os_error,
    host_name,
    is_folder,
    is_regular,
    is_there,
    make_folder,
)
from mnist_cli.config.names import ModelName, dataset_slug
from mnist_cli.errors import CheckpointError, OutputError, UsageError
from mnist_cli.runs.other_folders import explain_no_checkpoint

LOCK = "run.lock"
_NUMBERED = re.compile(r"^\.?(\d{4,})-")
_NAME = re.compile(r"(?=.*[^\W\d_])\w([\w.-]*\w)?")
LONGEST_NAME = 64
_WAIT = "Wait for it, stop it, or start another run."
_PATIENCE = 0.2
"""Seconds to wait for a lock: a process that lists runs may hold it for a moment."""


class RunDirectory:
    """A run directory: the paths inside, and the lock of the process that writes it.

    Attributes:
        config: the resolved configuration.
        environment: what the run was made with and on.
        metrics: one JSON object per row: of some steps, or of an epoch.
        last: the newest checkpoint, to resume from.
        best: the checkpoint that the validation set prefers.
        summary: the result, once the run has ended.
        curves: the learning curves as a picture.
        gradients: folder of gradient dumps.
        plots: folder of what ``mnist plot`` draws.
        tensorboard: folder of TensorBoard's event files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.last = path / "last.pt"
        self.best = path / "best.pt"
        self.summary = path / "summary.json"
        self.curves = path / "curves.png"
        self.gradients = path / "grad"
        self.plots = path / "plots"
        self.tensorboard = path / "tensorboard"
        self._owner = path / "run.pid"

    def checkpoint(self) -> Path:
        """The checkpoint to use: the best one, or the last one if none was chosen.

        Raises:
            CheckpointError: it has none yet.
        """
        for path in (self.best, self.last):
            if path.is_file():
                return path
        if not self.config.is_file() and not run_number(self.path):
            raise explain_no_checkpoint(self.path)
        raise CheckpointError(
            f"the run {self.path} has no checkpoint yet", "Train it, or choose another run."
        )

    @property
    def writer(self) -> str:
        """The process that writes the run; empty if there is none.

        The lock decides: a killed process leaves its number behind, which may belong to another
        process after a restart of the machine. If the lock cannot be tried, the number decides.
        """
        with contextlib.suppress(OSError, ValueError, OverflowError):
            owner = self._owner.read_text(encoding="utf-8").strip()
            return f"process {owner}" if owner and self._in_use(owner) else ""
        return ""

    def _in_use(self, owner: str) -> bool:
        """Whether a process holds the lock; if none does, it is taken for a moment."""
        from mnist_cli.base import locks

        try:
            if is_there(self.path / LOCK):
                locks.acquire(self.path / LOCK, timeout=0).release()
            return False
        except TimeoutError:  # filelock's Timeout is one
            return True
        except OSError:  # not ours to lock
            pid, _, host = owner.partition(" on ")
            return host != host_name() or alive(int(pid))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the system frees it if the process dies.

        Removes the directory if the work inside fails before it has written anything.

        Raises:
            OutputError: another process holds it; the message names the process.
        """
        from filelock import Timeout

        from mnist_cli.base import locks

        try:
            lock = locks.acquire(self.path / LOCK, timeout=_PATIENCE)
        except Timeout as error:
            with contextlib.suppress(OSError):
                owner = self._owner.read_text(encoding="utf-8").strip()
                raise OutputError(
                    f"the run {self.path} is being written by process {owner}", _WAIT
                ) from error
            raise OutputError(f"the run {self.path} is in use by another process", _WAIT) from error
        except OSError as error:
            raise explain_os_error(error, self.path, "lock") from error
        failed = True
        try:
            with contextlib.suppress(OSError):
                self._owner.write_text(f"{os.getpid()} on {host_name()}\n", encoding="utf-8")
            clear_stale(self.path)
            yield
            failed = False
        finally:
            with contextlib.suppress(OSError):
                self._owner.unlink()
            lock.release()
            if failed:  # after the release: Windows removes no file that is open
                self._remove_lock_alone()

    def _remove_lock_alone(self) -> None:
        with contextlib.suppress(OSError):
            if [path.name for path in self.path.iterdir()] in ([], [LOCK]):
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()


def check_name(name: str) -> str:
    """The name, if it can be part of a folder's name on every system and is not a run's number.

    Raises:
        UsageError: it cannot.
    """
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a run",
            f"Use at most {LONGEST_NAME} letters, digits, '-', '_' and '.', with a letter among "
            "them and a letter or digit at both ends.",
        )
    return name


def create(root: Path, dataset: str, model: str, name: str = "") -> RunDirectory:
    """Make the next numbered run directory; safe when several processes do so at once.

    A separate atomic mkdir reserves the number, since two runs with the same number may have
    different names.

    Args:
        root: folder of the run directories.
        dataset: the data set's name.
        model: the network's name.
        name: follows the number in the folder's name; empty is by data set and network.

    Raises:
        OutputError: it cannot be created or written.
        UsageError: ``name`` cannot name a run.
    """
    named = check_name(name) if name else f"{dataset_slug(dataset)}-{ModelName(model).slug}"
    make_folder(root)
    _clear_dead_runs(root)
    number = max((run_number(path) for path in root.iterdir()), default=0) + 1
    try:
        while True:
            reservation = root / f".{number:04d}-reserved"
            try:
                reservation.mkdir()
            except FileExistsError:
                number += 1
                continue
            if any(run_number(path) == number for path in root.iterdir() if path != reservation):
                reservation.rmdir()
                number += 1
                continue
            return RunDirectory(reservation.rename(root / f"{number:04d}-{named}"))
    except OSError as error:
        raise explain_os_error(error, root, "make a run directory in") from error


def _clear_dead_runs(root: Path) -> None:
    """Remove temporary files of processes that were killed before their first checkpoint.

    Nobody resumes such a run, so nothing else removes them. The folder and its records stay.
    """
    clear_stale(root)
    for path in root.iterdir():
        with contextlib.suppress(OSError):  # a file, just renamed, or another user's
            if run_number(path) and not RunDirectory(path).last.is_file():
                clear_stale(path)


def run_number(path: Path) -> int:
    """The number in a run directory's name; 0 if it has none."""
    match = _NUMBERED.match(path.name)
    return int(match[1]) if match else 0


def run_name(path: Path) -> str:
    """What follows the number in a run directory's name."""
    return _NUMBERED.sub("", path.name)


def numbered(root: Path) -> list[RunDirectory]:
    """The numbered folders under ``root``, newest first; none if it is not a folder.

    Raises:
        OSError: it cannot be read.
    """
    entries = root.iterdir() if is_folder(root) else ()
    found = (path for path in entries if run_number(path) and not path.name.startswith("."))
    folders = sorted(found, key=lambda path: (run_number(path), path.name), reverse=True)
    return [RunDirectory(path) for path in folders]


def _ours(root: Path) -> list[RunDirectory]:
    """The numbered folders, newest first, without those that may not be opened; all if none may."""
    runs = numbered(root)
    return [run for run in runs if os.access(run.path, os.X_OK)] or runs


def newest(root: Path) -> RunDirectory:
    """The run with the highest number that has a checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    for run in _ours(root):
        if is_regular(run.best) or is_regular(run.last):
            return run
    raise CheckpointError(
        f"no run with a checkpoint under {root}/",
        "Train one with `mnist train`, or name a checkpoint.",
    )


def newest_unfinished(root: Path) -> RunDirectory:
    """The run with the highest number that has a checkpoint, no result, and no process writing it.

    Raises:
        CheckpointError: there is none.
    """
    runs = [run for run in _ours(root) if is_regular(run.last)]
    for run in runs:
        if not is_there(run.summary) and not run.writer:
            return run
    raise CheckpointError(
        f"no unfinished run under {root}/",
        "The others are finished or still running: `mnist runs` lists them."
        if runs
        else "Train one with `mnist train`.",
    )


def known_runs(root: Path) -> str:
    """A sentence that says which runs there are."""
    with contextlib.suppress(OSError):
        numbers = sorted({run_number(run.path) for run in numbered(root)})
        if len(numbers) > 1:
            gaps = len(numbers) <= numbers[-1] - numbers[0]
            between = f", {len(numbers)} in all" if gaps else ""
            return (
                f"The runs under {root}/ are {numbers[0]} to {numbers[-1]}{between} (mnist runs)."
            )
        if numbers:
            return f"The only run under {root}/ is {numbers[0]}."
    return f"{root}/ holds no runs."


def find_run(target: Path, root: Path) -> Path | None:
    """The folder that an argument means: a path, a folder under ``root``, a run's number or name.

    None if no such folder exists; also None for a file.

    Raises:
        CheckpointError: several runs have that number or name.
        OSError: a folder cannot be read.
    """
    if is_there(target):
        return target if is_folder(target) else None
    if is_folder(root / target):
        return root / target
    name = str(target)
    runs = (run.path for run in numbered(root) if run.path.is_dir())
    if name.isdecimal():
        found = sorted(path for path in runs if run_number(path) == int(name))
    else:
        found = sorted(path for path in runs if run_name(path) == name)
    if len(found) > 1:
        what = f"the number {name}" if name.isdecimal() else f"the name {name}"
        raise CheckpointError(
            f"{len(found)} runs under {root}/ have {what}: "
            + ", ".join(path.name for path in found),
            "Name one of them in full.",
        )
    return found[0] if found else None


def find_checkpoint(target: Path | None, root: Path) -> Path:
    """The checkpoint that an argument means: a file, a run or its number, or the newest run.

    Raises:
        CheckpointError: there is none.
    """
    try:
        if target is None:
            return newest(root).checkpoint()
        if folder := find_run(target, root):
            return RunDirectory(folder).checkpoint()
        if is_there(target):
            return target
    except OSError as error:
        raise CheckpointError(
            f"cannot look for a checkpoint in {target or root}: {error.strerror}",
            "Name a run or a checkpoint that you may read.",
        ) from error
    if target.is_symlink():
        raise CheckpointError(f"{target} {absence(target)}", "Name a run or a checkpoint.")
    raise CheckpointError(
        f"no checkpoint or run {target}",
        f"Name a file, or a run under {root}/. {known_runs(root)}",
    )
