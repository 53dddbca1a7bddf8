"""Disks that are full, folders that cannot be written, outputs that are closed."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Outcome
from tally import Tally
from warm import RUN, Warm, Whole, ends_alike

SEED = 20261124
SAVE = "mnist_cli.checkpoints.checkpoint:write"
NOBODY = 65534


def judge(done: Outcome, folder: Path, cause: str) -> str:
    """What is wrong with how it ended on a disk that is full; "" if nothing is."""
    if done.code != 5 or "Traceback" in done.err:
        return f"exit code {done.code}: {done.err}"
    if cause not in done.err or "bytes were needed" not in done.err:
        return f"it does not say what was needed: {done.err}"
    return ", ".join(str(path) for path in folder.rglob("*.tmp"))


def test_a_file_that_may_not_grow_on(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path
) -> None:
    """The system stops accepting bytes somewhere in a checkpoint (RLIMIT_FSIZE)."""
    cuts = random.Random(SEED)
    size = next(whole.folder.rglob("last.pt")).stat().st_size
    for number in range(tally.times(1, 30)):
        folder = tmp_path / str(number)
        save, limit = cuts.randint(1, 10), cuts.randint(0, size - 1)
        done = warm.run(*RUN, folder=folder, faults=[["no_larger_than", SAVE, save, limit]])
        wrong = judge(done, folder, "larger than this system allows")
        wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"save {save} cut at {limit:,} of {size:,} bytes: {wrong}")
    tally.note(f"cut anywhere in {size:,} bytes")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a size of its own, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted ({done.stderr}); RLIMIT_FSIZE is tried instead")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full(warm: Warm, whole: Whole, tally: Tally, small_disk: Path) -> None:
    """A full disk: room for some checkpoints, and then for half of one."""
    rooms = random.Random(SEED + 1)
    size = next(whole.folder.rglob("last.pt")).stat().st_size
    for number in range(tally.times(1, 20)):
        folder = small_disk / str(number)
        folder.mkdir()
        room = rooms.randint(0, 3 * size - size // 10)  # last, best and one being written
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - room, 1))
        done = warm.run(*RUN, folder=folder)
        wrong = "" if room < 8192 and done.code == 5 else judge(done, folder, "the disk is full")
        ballast.unlink()
        wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"room for {room:,} bytes, {size:,} a checkpoint: {wrong}")
        subprocess.run(["rm", "-r", str(folder)], check=True)
    tally.note(f"room for 0 to {3 * size:,} bytes, {size:,} a checkpoint")


WRITERS = {
    "eval": ["eval", "--out", "written"],
    "inspect-grad": ["inspect-grad", "--out", "written", "--format", "json,svg"],
    "plot": ["plot", "--only", "filters,confusion", "--out", "written"],
    "data show": ["data", "show", "digits", "-n", "2", "--out", "written.png"],
}
FILES = "mnist_cli.base.files:temporary_for"


def test_other_commands_on_a_full_disk(warm: Warm, whole: Whole, tally: Tally) -> None:
    """A full disk for the files of mnist eval, inspect-grad, plot and data show."""
    numbers = range(1, 3) if tally.full else [1]
    for (name, words), number in itertools.product(WRITERS.items(), numbers):
        fault = ["no_larger_than", FILES, number, 3000]
        done = warm.run(*words, folder=whole.folder, faults=[fault])
        told = "larger than this system allows" in done.err and "were needed" in done.err
        probed = number == 1 and "cannot write into" in done.err  # where a probe has a name
        beyond = number > 1 and name == "data show" and done.code == 0  # it writes one file
        wrong = "" if beyond or (done.code == 5 and (told or probed)) else done.err
        wrong = wrong or ", ".join(str(path) for path in whole.folder.rglob("*.tmp"))
        tally.check(not wrong, f"{name}, file {number}: {done.code} {wrong}")
    tally.note("what was there before is whole")


def test_a_folder_that_cannot_be_written(warm: Warm, tally: Tally, tmp_path: Path) -> None:
    """A folder that cannot be written to: refused before the first step."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "locked").mkdir(mode=0o555)
    for place in (tmp_path / "file", tmp_path / "locked", Path("/proc")):
        user = NOBODY if place.name == "locked" else None
        folder = tmp_path if user is None or reachable_by_others(tmp_path) else Path("/")
        fault = ["send", "mnist_cli.training.session:fit", 1, [9]]  # death, if training begins
        done = warm.run(*RUN, "--runs", place / "runs", folder=folder, faults=[fault], user=user)
        wrong = "" if done.code == 5 and "Traceback" not in done.err else f"{done.code} {done.err}"
        tally.check(not wrong, f"{place}: {wrong}")


def reachable_by_others(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in folder.parents)


def test_stdout_that_is_full_or_closed(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path
) -> None:
    """Stdout full or closed: the run still completes."""
    training = {"train": RUN, "json": [*RUN, "--json"]}
    more = {"help": ["--help"], "doctor": ["doctor"], "eval": ["eval"]}
    commands = [*training.items(), *more.items()][: tally.times(3, 5)]
    for (name, words), (stdout, code) in itertools.product(commands, (("/dev/full", 5), (None, 0))):
        folder = tmp_path / f"{name}-{code}" if name in training else whole.folder
        done = warm.run(*words, folder=folder, stdout=stdout)
        wrong = "" if done.code == code else f"exit code {done.code}: {done.err}"
        if code and not wrong:
            wrong = "" if "cannot write the output: No space" in done.err else done.err
        if name in training:
            wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"{name}, stdout {stdout}: {wrong}")
