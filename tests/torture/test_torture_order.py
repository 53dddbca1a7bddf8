"""The order write, fsync, rename, fsync of the folder; and a crash before each of those calls."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import one_thread
from tally import Tally
from warm import RUN, Warm, Whole, ends_alike

STRACE = shutil.which("strace")
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
NAMED = re.compile(r"<([^<>]+)>")
QUOTED = re.compile(r'"([^"]*)"')
UNFINISHED = " <unfinished ...>"
RESUMED = re.compile(r"^<\.\.\. \w+ resumed>")


def whole_calls(trace: str) -> Iterator[str]:
    """The lines of a trace, with the two parts of a call that another thread interrupted joined.

    Such a call is where it ended: a file is synced when fsync returns.
    """
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        process, _, rest = line.partition(" ")
        if line.endswith(UNFINISHED):
            begun[process] = line.removesuffix(UNFINISHED)
        elif resumed := RESUMED.match(rest.lstrip()):
            yield begun.pop(process, "") + rest.lstrip()[resumed.end() :]
        else:
            yield line


def judge(trace: str, folder: Path) -> dict[str, str]:
    """What is wrong with each renaming into place in a trace of ``strace -f -y``; "" if nothing."""
    found: dict[str, str] = {}
    synced: dict[str, bool] = {}
    pending: dict[str, str] = {}
    for line in whole_calls(trace):
        match = CALL.match(line)
        if not match or int(match[3]) < 0:
            continue
        call, arguments = match[1], match[2]
        named = (NAMED.findall(arguments) or [""])[0]
        if call in {"write", "pwrite64"}:
            synced[named] = False
        elif call in {"fsync", "fdatasync"}:
            synced[named] = True
            for target in [key for key, folder in pending.items() if folder == named]:
                found[target] = ""
                del pending[target]
        elif call.startswith("rename"):
            source, place = (str(folder / path) for path in QUOTED.findall(arguments))
            target = f"{len(found)} {place}"
            found[target] = "its folder was not synced afterwards"
            if synced.get(source):
                pending[target] = str(Path(place).parent)
            else:
                found[target] = "it was renamed before it was synced"
    return found


TRACE = """\
7 write(3</r/.a.7.tmp>, "x", 1) = 1
7 fsync(3</r/.a.7.tmp>) = 0
7 rename("/r/.a.7.tmp", "/r/a") = 0
7 fsync(3</r>) = 0
"""


def test_a_call_that_another_thread_interrupts_is_read_whole() -> None:
    between = '7 fsync(3</r/.a.7.tmp> <unfinished ...>\n8 write(4</r/b>, "x", 1) = 1\n'
    resumed = f"{between}7 <... fsync resumed>)             = 0\n"
    trace = TRACE.replace("7 fsync(3</r/.a.7.tmp>) = 0\n", resumed)
    assert trace != TRACE
    assert set(judge(trace, Path("/")).values()) == {""}
    assert all(judge(trace.replace("= 0\n7 rename", "= -1 EIO\n7 rename"), Path("/")).values())


@pytest.mark.parametrize("line", [1, 3])
def test_the_reading_of_a_trace_would_notice(line: int) -> None:
    lines = TRACE.splitlines()
    assert set(judge(TRACE, Path("/")).values()) == {""}
    assert all(judge("\n".join(lines[:line] + lines[line + 1 :]), Path("/")).values())


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_the_order_of_system_calls(tally: Tally, tmp_path: Path) -> None:
    """Write, fsync, rename, fsync of the folder, in a trace of the system calls."""
    trace = tmp_path / "trace"
    traced = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2"
    command = [
        STRACE,
        "-f",
        "--seccomp-bpf",
        "-y",
        "-e",
        traced,
        "-o",
        trace,
        sys.executable,
        "-m",
        "mnist_cli",
    ]
    done = subprocess.run(
        [*map(str, command), *RUN, "--epochs", "1", "--quiet"],
        cwd=tmp_path,
        env=one_thread(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "ptrace" in done.stderr and not trace.read_text():
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    verdicts = judge(trace.read_text(), tmp_path)
    ours = {key: wrong for key, wrong in verdicts.items() if re.search(r"\.\w+$", key)}
    for target, wrong in ours.items():
        tally.check(not wrong, f"{target}: {wrong}")
    names = {Path(target).name for target in ours}
    assert {"config.toml", "environment.json", "metrics.jsonl", "last.pt", "best.pt"} <= names
    tally.note(f"{len(names)} kinds of file: {', '.join(sorted(names))}")


def test_a_crash_before_each_call(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """SIGKILL before each call that writes into the runs, one after the other."""
    log = tmp_path / "calls"
    assert warm.run(*RUN, folder=tmp_path / "all", faults=[["crash_before", 0, str(log)]]).code == 0
    calls = log.read_text().splitlines()
    kinds = ["open", "write", "fsync", "os.rename", "fsync of a folder"]
    assert set(kinds) <= set(calls)
    in_full = range(1, len(calls) + 1)
    middle = len(calls) // 2
    in_short = [calls.index(kind, middle) + 1 for kind in ("write", "os.rename")]
    for number in in_full if tally.full else in_short:
        folder = tmp_path / str(number)
        code = warm.run(*RUN, folder=folder, faults=[["crash_before", number]]).code
        wrong = "" if code == -9 else f"it ended with {code}"
        wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"before call {number}, {calls[number - 1]}: {wrong}")
        shutil.rmtree(folder)
    tally.note(f"{len(calls)} calls in a run: {', '.join(kinds)}, os.remove")
