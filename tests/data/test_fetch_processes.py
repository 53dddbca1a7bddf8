"""Fetching where the disk refuses, where others fetch too, and where it is ended in the middle."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fetching import PATIENT, Serve, expected, files_in, run
from made_up import Made
from servers import Handler, Server
from systems import NEEDS_POSIX, WINDOWS, needs_permissions

from mnist_cli.data import fetch
from mnist_cli.errors import OutputError

if WINDOWS:
    pytest.skip(NEEDS_POSIX, allow_module_level=True)

import resource

# The disk


def test_a_folder_that_cannot_be_made(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        run(made, tmp_path / "file", "https://mirror.invalid/")
    assert str(tmp_path / "file") in caught.value.message
    assert "bytes were needed" in caught.value.message


@needs_permissions
def test_a_read_only_folder(made: Made, tmp_path: Path, serve: Serve) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        run(made, tmp_path, serve().offer(made.archives).url)
    tmp_path.chmod(0o700)


def test_a_full_disk_leaves_nothing(made: Made, tmp_path: Path, serve: Serve) -> None:
    """RLIMIT_FSIZE stands in for a full disk: a write fails in the middle of a file."""
    process = child(made, tmp_path, serve().offer(made.archives).url, limit=20_000)
    _, errors = process.communicate(timeout=PATIENT)
    assert process.returncode == 5, errors
    assert "bytes were needed" in errors
    assert files_in(tmp_path) == {}


# Other processes, and ends in the middle

CHILD = """
import pickle, sys
from pathlib import Path
from mnist_cli.data.fetch import fetch
from mnist_cli.errors import MnistError

made, root, url = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    report = fetch(made, root, mirrors=[url])
except MnistError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
print(report.downloaded)
"""


def child(made: Made, root: Path, url: str, limit: int | None = None) -> subprocess.Popen[str]:
    """Fetch in a process of its own, whose files may have ``limit`` bytes."""
    task = root.parent / f"{root.name}.task"
    task.write_bytes(pickle.dumps((made.spec, root, url)))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit and partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
    )


class Gate:
    """Serves half a file and waits to be opened before it serves the rest."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        half = len(self.content) // 2
        handler.wfile.write(self.content[:half])
        handler.wfile.flush()
        self.reached.set()
        self.opened.wait(PATIENT)
        handler.wfile.write(self.content[half:])


@pytest.fixture
def gated(made: Made, serve: Serve) -> Iterator[tuple[Server, Gate]]:
    """A good server that waits in the middle of the first file."""
    server = serve().offer(made.archives)
    name, content = next(iter(made.archives.items()))
    gate = Gate(content)
    server.routes[f"/{name}"] = gate
    yield server, gate
    gate.opened.set()


def wait_for_part(root: Path) -> Path:
    """The temporary file of a download under way."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        if parts := list(root.rglob(".*.tmp")):
            return parts[0]
        time.sleep(0.01)
    raise AssertionError("no download began")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle_and_run_again_heals(made, tmp_path, gated, number) -> None:
    server, gate = gated
    root = tmp_path / "data"
    process = child(made, root, server.url)
    assert gate.reached.wait(PATIENT)
    wait_for_part(root)
    process.send_signal(number)
    process.communicate(timeout=PATIENT)
    assert process.returncode != 0
    left = [name for name in files_in(root) if not name.endswith(".tmp")]
    assert left == []
    if number == signal.SIGINT:
        assert files_in(root) == {}
    gate.opened.set()
    run(made, root, server.url)
    assert files_in(root) == expected(made)


def test_an_interrupt_is_not_swallowed(made: Made, tmp_path: Path, serve: Serve) -> None:
    def interrupt(progress: fetch.Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path, serve().offer(made.archives).url, progress=interrupt)
    assert files_in(tmp_path) == {}


def test_eight_at_once_of_which_one_is_killed(made: Made, tmp_path: Path, gated) -> None:
    server, gate = gated
    root = tmp_path / "data"
    processes = [child(made, root, server.url) for _ in range(8)]
    assert gate.reached.wait(PATIENT)
    pid = int(wait_for_part(root).name.split(".")[-2])
    killed = next(process for process in processes if process.pid == pid)
    killed.kill()
    gate.opened.set()
    outputs = {process.pid: process.communicate(timeout=PATIENT) for process in processes}
    assert killed.returncode == -signal.SIGKILL
    others = [process for process in processes if process is not killed]
    assert [process.returncode for process in others] == [0] * 7, outputs
    assert files_in(root) == expected(made)
    # One of the others downloaded everything, the rest nothing.
    volumes = sorted(int(outputs[process.pid][0]) for process in others)
    assert volumes == [0] * 6 + [sum(map(len, made.archives.values()))]


def test_a_process_that_waits_too_long_says_for_what(made: Made, tmp_path: Path, gated) -> None:
    server, gate = gated
    root = tmp_path / "data"
    process = child(made, root, server.url)
    assert gate.reached.wait(PATIENT)
    seen: list[fetch.Progress] = []
    with pytest.raises(OutputError, match="another process has been fetching Made-up"):
        run(made, root, server.url, total_timeout=0.2, progress=seen.append)
    assert [progress.stage for progress in seen] == ["waiting"]
    gate.opened.set()
    process.communicate(timeout=PATIENT)
    assert process.returncode == 0
