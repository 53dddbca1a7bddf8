"""Ranks that die, are stopped, or lose their launcher: all end, and the checkpoint goes on.

With real processes under the real launcher: a rank's connections cannot be forked.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from program import TINY, finish, one_thread, start, wait_until
from tally import Tally
from warm import damage, newest_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PATIENCE = 10
"""Seconds that a rank waits for one that is stopped, and then the launcher for the ranks."""
LIMIT = 120
"""Seconds after which it would be called hung; the machine may be busy."""
RUN = [*TINY, "--epochs", "5000", "--checkpoint-every", "1"]
LAUNCHED = ["--nproc", "2"]
RESUME = "mnist train --nproc 2 --resume runs/0001-digits-conv2"

Blow = Callable[[subprocess.Popen[str], list[int]], None]


def _rank(number: int, kind: int) -> Blow:
    return lambda _launcher, ranks: os.kill(ranks[number], kind)


def _launcher(kind: int) -> Blow:
    return lambda launcher, _ranks: os.kill(launcher.pid, kind)


CASES: dict[str, tuple[Blow, tuple[int, ...], str]] = {
    "rank 1 killed": (_rank(1, signal.SIGKILL), (1,), "rank 1 of 2 was killed by SIGKILL"),
    "rank 0 killed": (_rank(0, signal.SIGKILL), (1,), "rank 0 of 2 was killed by SIGKILL"),
    "rank 1 stopped": (_rank(1, signal.SIGSTOP), (1,), "rank 1 of 2 did not answer"),
    "rank 0 stopped": (_rank(0, signal.SIGSTOP), (1,), "rank 0 of 2 did not answer"),
    "launcher terminated": (_launcher(signal.SIGTERM), (143,), "stopped in epoch"),
    "launcher interrupted": (_launcher(signal.SIGINT), (130,), "stopped in epoch"),
    "launcher killed": (_launcher(signal.SIGKILL), (-9,), ""),
    "rank 1 terminated": (_rank(1, signal.SIGTERM), (143,), "stopped in epoch"),
}
SHORT = ("rank 1 killed", "launcher killed")


def test_a_rank_or_the_launcher_struck(tally: Tally, tmp_path: Path) -> None:
    """A rank killed or stopped, the launcher killed or terminated: all end, the run goes on."""
    slowest = 0.0
    for name in CASES if tally.full else SHORT:
        for number in range(tally.times(1, 3)):
            folder = tmp_path / f"{name}-{number}".replace(" ", "-")
            began = time.monotonic()
            wrong = struck(folder, name) or damage(folder)
            if tally.full or name == SHORT[0]:
                wrong = wrong or goes_on(folder)
            slowest = max(slowest, time.monotonic() - began)
            tally.check(not wrong, f"{name}, try {number}: {wrong}")
    tally.note(f"{', '.join(CASES)}; {slowest:.0f} s at the longest, start and all")


def struck(folder: Path, name: str) -> str:
    """Begin a run, strike it in its second epoch, and see it end; what is wrong, or ""."""
    blow, codes, words = CASES[name]
    folder.mkdir()
    patience = ["--rank-timeout", PATIENCE] if "did not answer" in words else []
    launcher = start(*RUN, *LAUNCHED, *patience, cwd=folder)
    try:
        wait_until(lambda: launcher.poll() is not None or _epochs(folder))
        ranks = children(launcher.pid)
        if len(ranks) != 2:
            return f"{len(ranks)} ranks: {finish(launcher).err}"
        blow(launcher, ranks)
        launcher.wait(LIMIT)
        ended = finish(launcher)
        wait_until(lambda: not any(alive(rank) for rank in ranks))
    except (subprocess.TimeoutExpired, AssertionError):
        return "not all have ended"
    finally:
        for rank in children(launcher.pid):
            os.kill(rank, signal.SIGKILL)
    said = ended.err
    if ended.code not in codes or words not in said or "Traceback" in said:
        return f"exit code {ended.code}: {said}"
    if words and (said.count("error:") != 1 or f"Resume with: {RESUME}" not in said):
        return f"not one message with the command to resume: {said}"
    return ""


def goes_on(folder: Path) -> str:
    """Resume for one more epoch, in one process: quicker, and the same checkpoint."""
    run = newest_run(folder)
    assert run is not None
    before = torch.load(run / "last.pt", weights_only=True)["position"]["step"]
    goal = ["--target-accuracy", "0.0001"]
    resumed = finish(start("train", "--resume", run.relative_to(folder), *goal, cwd=folder))
    if resumed.code or "ranks: 2 then, 1 now" not in resumed.err:
        return f"could not go on: {resumed.err}"
    after = torch.load(run / "last.pt", weights_only=True)["position"]["step"]
    return "" if after >= before else f"it went back from step {before} to {after}"


def _epochs(folder: Path) -> int:
    run = newest_run(folder)
    metrics = run / "metrics.jsonl" if run else folder
    return len(metrics.read_text().splitlines()) if metrics.is_file() else 0


def children(parent: int) -> list[int]:
    """The processes that ``parent`` has started: its ranks, in their order."""
    return sorted(pid for pid, above in _processes() if above == parent)


def _processes() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(path.name), int(fields[1])


def alive(pid: int) -> bool:
    return any(pid == one for one, _ in _processes())


@pytest.mark.skipif(os.environ.get("TORTURE") != "full", reason="in make torture only")
def test_two_machines(tally: Tally, tmp_path: Path) -> None:
    """Two machines' launchers (torchrun), on loopback: one killed, the other ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    both += [f"--master-port={port}"]
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", *both, f"--node-rank={node}"),
                *("-m", "mnist_cli", *RUN),
            ],
            cwd=tmp_path,
            env=one_thread(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(2)
    ]
    wait_until(lambda: _epochs(tmp_path) or any(agent.poll() is not None for agent in agents))
    ranks = [rank for agent in agents for rank in children(agent.pid)]
    agents[1].kill()
    ended = [finish(agent) for agent in agents]
    wait_until(lambda: not any(alive(rank) for rank in ranks))
    tally.check(len(ranks) == 2 and ended[0].code != 0, ended[0].err)
    tally.check(not damage(tmp_path), damage(tmp_path))
