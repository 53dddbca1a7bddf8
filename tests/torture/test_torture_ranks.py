"""Ranks that die, are stopped, or lose their launcher: all end, and the checkpoint goes on.

With real processes under the real launcher: a rank's connections cannot be forked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from program import TINY, Outcome, alive, children, finish, one_thread, start, wait_until
from tally import Tally
from warm import damage, newest_run

from mnist_cli import cli

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PATIENCE = 10
"""Seconds that a rank waits for one that is stopped, and then the launcher for the ranks."""
LIMIT = 120
"""Seconds after which it would be called hung; the machine may be busy."""
RUN = [*TINY, "--epochs", "5000", "--checkpoint-every", "1", "--set", "schedule=constant"]
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
    "launcher hung up": (_launcher(signal.SIGHUP), (143,), "stopped in epoch"),
    "launcher killed": (_launcher(signal.SIGKILL), (-9,), ""),
    "rank 1 terminated": (_rank(1, signal.SIGTERM), (143,), "stopped in epoch"),
}
SHORT = ("rank 1 killed", "launcher killed")


def test_a_rank_or_the_launcher_struck(
    tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rank or the launcher killed or stopped: all processes end, the run can be resumed."""
    slowest = 0.0
    for name in CASES if tally.full else SHORT:
        for number in range(tally.times(1, 3)):
            folder = tmp_path / f"{name}-{number}".replace(" ", "-")
            began = time.monotonic()
            wrong = struck(folder, name) or damage(folder) or goes_on(folder, capsys)
            slowest = max(slowest, time.monotonic() - began)
            tally.check(not wrong, f"{name}, try {number}: {wrong}")
    tally.note(f"{', '.join(CASES)}; {slowest:.0f} s at the longest, start and all")


def struck(folder: Path, name: str) -> str:
    """Begin a run, strike it in its second epoch, and see it end; what is wrong, or ""."""
    blow, codes, words = CASES[name]
    folder.mkdir()
    patience = ["--rank-timeout", PATIENCE] if "did not answer" in words else []
    launcher = start(*RUN, *LAUNCHED, *patience, cwd=folder)
    ranks: list[int] = []
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
        launcher.kill()
        for rank in {*ranks, *children(launcher.pid)}:  # children no more where it was killed
            end(rank)
    said = ended.err
    if ended.code not in codes or words not in said or "Traceback" in said:
        return f"exit code {ended.code}: {said}"
    # Being stopped by a signal is not an error.
    if words and said.count("error:") + said.count("stopped in epoch") != 1:
        return f"not one message: {said}"
    if words and said.count(f"Resume with: {RESUME}\n") != 1:
        return f"no command to resume: {said}"
    return ""


def goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Resume here to the end of the epoch that it was in, as one rank: what differs is said."""
    run = newest_run(folder)
    assert run is not None
    before = torch.load(run / "last.pt", weights_only=True)["position"]
    code = cli.run(["train", "--resume", str(run), "--epochs", str(before["epoch"] + 1), "--quiet"])
    said = capsys.readouterr().err
    if code or "ranks: 2 then, 1 now" not in said:
        return f"could not go on: {said}"
    after = torch.load(run / "last.pt", weights_only=True)["position"]
    wanted = {"epoch": before["epoch"] + 1, "batch": 0, "step": 3 * (before["epoch"] + 1)}
    return "" if after == wanted else f"it went from {before} to {after}"


def _epochs(folder: Path) -> int:
    run = newest_run(folder)
    metrics = run / "metrics.jsonl" if run else folder
    return len(metrics.read_text().splitlines()) if metrics.is_file() else 0


def end(pid: int) -> None:
    """Kill a rank, if it still is one: the number may be another process's by now."""
    with contextlib.suppress(OSError):
        if b"mnist_cli" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def wait_until_gone(ranks: list[int]) -> None:
    """Fail, and kill them, if ranks do not end by themselves."""
    try:
        wait_until(lambda: not any(alive(rank) for rank in ranks))
    finally:
        for rank in ranks:
            end(rank)


# --- several machines

FULL = pytest.mark.skipif(os.environ.get("TORTURE") != "full", reason="in make torture only")


@dataclass(frozen=True)
class Machine:
    """Where a launcher runs: its folder, its network namespace ("" is ours), and the address."""

    folder: Path
    namespace: str = ""
    address: str = "127.0.0.1"

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []


@FULL
def test_two_machines(tally: Tally, tmp_path: Path) -> None:
    """Two machines' launchers (torchrun), on loopback: one killed, the other ends."""
    for _ in range(3):
        ended, ranks = second_killed([Machine(tmp_path), Machine(tmp_path)])
        if "EADDRINUSE" not in ended[0].err:
            break
    wait_until_gone(ranks)
    tally.check(len(ranks) == 2 and ended[0].code != 0, ended[0].err)
    tally.check(not damage(tmp_path), damage(tmp_path))


@FULL
def test_two_networks(tally: Tally, machines: list[Machine]) -> None:
    """Two machines, each with its own network and folder: they train; if one is killed, both end."""
    first, second = (machine.folder for machine in machines)
    ended = [finish(agent) for agent in start_agents(machines, TINY)]
    tally.check([one.code for one in ended] == [0, 0], ended[0].err + ended[1].err)
    whole = newest_run(first)
    tally.check(whole is not None and (whole / "summary.json").is_file(), "no summary")
    tally.check(not list(second.iterdir()), f"rank 1 wrote {list(second.iterdir())}")
    ended, ranks = second_killed(machines)
    wait_until_gone(ranks)
    tally.check(len(ranks) == 2 and ended[0].code != 0, ended[0].err)
    tally.check(not damage(first), damage(first))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Two network namespaces with a cable between them, as far as the kernel allows."""
    names = [f"mnist-{os.getpid()}-{end}" for end in "ab"]
    pair = [Machine(tmp_path / name, name, f"10.213.0.{i}") for i, name in enumerate(names, 1)]
    cable = [f"m{os.getpid()}{end}" for end in "ab"]
    laid = [["ip", "link", "add", cable[0], "type", "veth", "peer", "name", cable[1]]]
    for machine, end in zip(pair, cable, strict=True):
        inside = ["ip", "-n", machine.namespace]
        laid += [
            ["ip", "netns", "add", machine.namespace],
            ["ip", "link", "set", end, "netns", machine.namespace],
            [*inside, "address", "add", f"{machine.address}/24", "dev", end],
            [*inside, "link", "set", end, "up"],
            [*inside, "link", "set", "lo", "up"],
        ]
        machine.folder.mkdir()
    try:
        for words in laid:
            try:
                subprocess.run(words, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespaces here: {error}")
        yield pair
    finally:
        for words in [["link", "delete", cable[0]], *(["netns", "delete", name] for name in names)]:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", *words], check=False, capture_output=True)


def second_killed(machines: list[Machine]) -> tuple[list[Outcome], list[int]]:
    """How two agents end of which the second is killed, and the ranks that they had started."""
    before = newest_run(machines[0].folder)
    agents = start_agents(machines, RUN)

    def under_way() -> bool:
        new = newest_run(machines[0].folder) != before
        return new and _epochs(machines[0].folder) > 0

    wait_until(lambda: under_way() or any(agent.poll() is not None for agent in agents))
    ranks = [rank for agent in agents for rank in children(agent.pid)]
    agents[1].kill()
    return [finish(agent) for agent in agents], ranks


def start_agents(machines: list[Machine], run: Sequence[str]) -> list[subprocess.Popen[str]]:
    """torchrun as on two machines; the port was free just now, and may be another's by now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = ["--nnodes=2", "--nproc-per-node=1", f"--master-addr={machines[0].address}"]
    both += [f"--master-port={port}"]
    return [
        subprocess.Popen(
            [
                *(*machine.prefix, sys.executable, "-m", "torch.distributed.run"),
                *(*both, f"--node-rank={node}", "-m", "mnist_cli", *run),
            ],
            cwd=machine.folder,
            env=one_thread(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node, machine in enumerate(machines)
    ]
