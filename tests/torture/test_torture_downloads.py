"""Downloads from servers that fail, by processes that are killed: whole or not at all."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_mirrors import drip
from fetching import expected, files_in
from servers import Server
from small_world import MADE, preparation
from tally import Tally
from victim import Victim

PATIENT = 60.0
TRUE = expected(MADE)


@pytest.fixture(scope="module")
def good() -> Iterator[Server]:
    server = Server().offer(MADE.archives)
    yield server
    server.close()


def test_no_plain_http(tally: Tally, world: Victim) -> None:
    """Mirrors or redirects with plain http, file or ftp on other machines: never used."""
    urls = ["http://192.0.2.1/", "ftp://127.0.0.1/", "file:///etc/", "http://localhost.example/"]
    where = world.folder / "plain"
    for url in urls[: tally.times(2, 4)]:
        (end,) = world.run(["data", "fetch", "mnist", "--data-dir", where, "--mirror", url])
        refused = end.refused(2) and not files_in(where)
        tally.check(refused, f"{url}: {end.code} {end.seen} {end.message}")
    tally.note("no socket")


def spawn(folder: Path, *mirrors: str) -> subprocess.Popen[str]:
    """``mnist data fetch`` in a process of its own, which imports only what it needs."""
    addresses = [word for url in mirrors for word in ("--mirror", url)]
    arguments = ["data", "fetch", "mnist", "--data-dir", str(folder), "--quiet", *addresses]
    code = (
        f"{preparation()}\nimport sys\nfrom mnist_cli.cli import run\nsys.exit(run({arguments!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def slow_server() -> Server:
    """Good, and slow enough that a process can be killed within: some 4 s for all."""
    server = Server().offer(MADE.archives)
    for name in list(MADE.archives)[:2]:
        server.routes[f"/{name}"] = drip(MADE.archives[name], 0.05, 2048)
    return server


def wait_for_part(folder: Path) -> None:
    until = time.monotonic() + PATIENT
    while not list(folder.rglob(".*.tmp")):
        assert time.monotonic() < until, "no download began"
        time.sleep(0.005)


def test_killed_downloads(tally: Tally, tmp_path: Path, good: Server) -> None:
    """A download killed halfway: no damaged file is left, and the next run completes it."""
    chance = random.Random(0)
    server = slow_server()
    for number in range(tally.times(1, 40)):
        folder = tmp_path / str(number)
        process = spawn(folder, server.url)
        wait_for_part(folder)
        time.sleep(chance.random() * 0.8)
        process.kill()
        process.communicate()
        left = {name: data for name, data in files_in(folder).items() if not name.endswith(".tmp")}
        whole = all(TRUE[name] == data for name, data in left.items())
        again = spawn(folder, "http://127.0.0.1:1/", good.url)  # nobody listens at the first
        _, err = again.communicate(timeout=PATIENT)
        healed = again.returncode == 0 and files_in(folder) == TRUE
        tally.check(whole and healed, f"{sorted(left)} {again.returncode} {err}")
    server.close()
    tally.note("healed")


def test_eight_at_once(tally: Tally, tmp_path: Path) -> None:
    """Eight downloads into one folder, one of them killed: the others leave one copy."""
    chance = random.Random(0)
    for number in range(tally.times(1, 12)):
        server, folder = slow_server(), tmp_path / str(number)
        processes = [spawn(folder, server.url) for _ in range(tally.times(3, 8))]
        wait_for_part(folder)
        time.sleep(chance.random() * 0.5)
        killed = chance.choice(processes)
        killed.kill()
        errors = [process.communicate(timeout=PATIENT)[1] for process in processes]
        codes = [process.returncode for process in processes if process is not killed]
        fine = not any(codes) and files_in(folder) == TRUE
        # One does the work; another does it again from where the killed one was, if it did.
        fine = fine and max(Counter(server.asked).values()) <= 2
        tally.check(fine, f"{codes} {sorted(files_in(folder))} {server.asked} {errors}")
        server.close()
    tally.note("one copy")


@pytest.fixture
def offline() -> list[str]:
    """What runs a command without any network, as root of a name space of its own."""
    prefix = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("this system lets nobody take the network away from a process")
    return prefix


def test_no_network(offline: list[str], tally: Tally, tmp_path: Path) -> None:
    """No network and no data: exit 3, within five seconds."""
    seconds = []
    code = "import sys, time; from mnist_cli.cli import run; t = time.monotonic(); " + (
        "c = run(sys.argv[1:]); print(time.monotonic() - t); sys.exit(c)"
    )
    for number in range(tally.times(1, 10)):
        folder = str(tmp_path / str(number))
        command = [sys.executable, "-c", code, "data", "fetch", "mnist", "--data-dir", folder]
        done = subprocess.run([*offline, *command], capture_output=True, text=True, check=False)
        seconds.append(float(done.stdout.splitlines()[-1]))
        survived = done.returncode == 3 and "no mirror can be reached" in done.stderr
        in_time = not tally.full or seconds[-1] < 5  # the limit is not held where time is short
        tally.check(survived and in_time, f"{done.returncode} {seconds[-1]:.1f} s {done.stderr}")
    tally.note(f"{max(seconds):.1f} s")
