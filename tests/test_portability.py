"""Windows and macOS, as far as Linux can imitate them."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from program import TINY, one_thread
from systems import LINUX
from windows import COMPLAINT

import mnist_cli
from mnist_cli.base import files, process
from mnist_cli.commands import bench
from mnist_cli.config import names as places
from mnist_cli.errors import OutputError

SOURCE = Path(mnist_cli.__file__).parent
TESTS = Path(__file__).parent
linux = pytest.mark.skipif(not LINUX, reason="imitates Windows by what Linux offers")

COMMANDS: tuple[tuple[int, list[str]], ...] = (
    (0, ["--help"]),
    (0, ["doctor"]),
    (0, [*TINY, "--quiet"]),
    (0, ["train", "--resume", "1", "--quiet"]),
    (0, ["eval"]),
    (0, ["inspect-grad", "--replay"]),
    (0, ["inspect-grad", "--step"]),
    (0, ["plot", "--only", "curves,confusion"]),
    (0, ["model"]),
    (0, ["export", "--out", "net.safetensors"]),
    (0, ["runs", "compare", "1", "1"]),
    (0, ["runs"]),
    (0, ["data", "show", "digits"]),
    (2, [*TINY, "--nproc", "2"]),
    (5, [*TINY, "--quiet", "--runs", "net.safetensors"]),
)

RUNS = """
import importlib, json, pathlib, pkgutil, sys, windows
tests = pathlib.Path(windows.__file__).parent
windows.simulate(tests)
import mnist_cli, pytest
for module in pkgutil.walk_packages(mnist_cli.__path__, "mnist_cli."):
    importlib.import_module(module.name)
    print("module", module.name)
from mnist_cli import cli
for words in json.loads(sys.argv[1]):
    print("code", cli.run(words), flush=True)
paths = [path for path in tests.rglob("test_*.py") if path.parent.name != "torture"]
sys.path += {str(path.parent) for path in paths} | {str(tests / "own_networks")}
for path in paths:
    try:
        importlib.import_module(path.stem)
    except pytest.skip.Exception:
        pass
    print("module", path.stem)
"""

REFUSED = {
    "import fcntl": "fcntl",
    "import os; os.fork": "os.fork",
    "from signal import SIGKILL": "SIGKILL",
    "import os; os.kill(1, 0)": "os.kill",
    "import sys; assert sys.platform != 'win32'": "AssertionError",
    "open('a:b', 'wb')": "the file name a:b",
    "import os\nheld = open('held', 'wb')\nos.replace('held', 'other')": "an open file",
    "open('a.txt', 'w')": "EncodingWarning",
}
"""Statements that fail on Windows, and a word of each error."""
REFUSALS = """
import json, sys, windows
windows.simulate()
statements, name = json.loads(sys.argv[1]), sys.argv[2]
for statement in statements:
    try:
        exec(compile(statement, name, "exec"), {"__file__": name, "__name__": "mnist_cli.somewhere"})
    except BaseException as error:
        print(repr(error))
"""


def on_windows(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that calls ``windows.simulate()``, its streams in a Western code page."""
    command = [sys.executable, "-X", "warn_default_encoding", "-c", script, *arguments]
    environment = one_thread(
        PYTHONPATH=f"{SOURCE.parent}{os.pathsep}{TESTS}",
        PYTHONIOENCODING="cp1252:replace",
        PYTHONWARNINGS="ignore::EncodingWarning",
        MNIST_DATA_DIR="",
    )
    options: dict[str, Any] = {"capture_output": True, "encoding": "cp1252", "timeout": 250}
    return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


@linux
def test_the_imitation_fails_where_windows_fails(tmp_path: Path) -> None:
    """Without this the other tests would prove nothing."""
    words = json.dumps(list(REFUSED)), str(SOURCE / "somewhere.py")
    done = on_windows(REFUSALS, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    errors = done.stdout.splitlines()
    for error, (statement, word) in zip(errors, REFUSED.items(), strict=True):
        assert word in error, statement


@linux
def test_the_commands_work_on_windows_and_all_modules_and_tests_are_imported(
    tmp_path: Path,
) -> None:
    """Of tests/torture not: it needs Linux."""
    done = on_windows(RUNS, json.dumps([words for _, words in COMMANDS]), folder=tmp_path)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(line[1]) for line in lines if line[:1] == ["code"]] == [
        code for code, _ in COMMANDS
    ], done.stderr
    imported = {line[1].rpartition(".")[2] for line in lines if line[:1] == ["module"]}
    assert {path.stem for path in SOURCE.rglob("*.py")} - {"__init__"} <= imported
    assert {"test_config", "test_files"} <= imported
    assert COMPLAINT not in done.stderr
    assert "several processes cannot share a run on Windows" in done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["0001-digits-conv2"]


FAILS_AT_ITS_START = """
import contextlib, pathlib, windows
windows.simulate()
from mnist_cli.runs import directory as rundir
run = rundir.create(pathlib.Path("runs"), "mnist", "conv4")
with contextlib.suppress(KeyError), run.locked():
    raise KeyError
"""


@linux
def test_a_run_that_fails_at_its_start_is_removed_on_windows(tmp_path: Path) -> None:
    """Its lock file can be removed only after it is released."""
    done = on_windows(FAILS_AT_ITS_START, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert COMPLAINT not in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []


def test_files_are_written_as_bytes() -> None:
    """Text gets other line ends on Windows. The exceptions are read back as text."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if name == "write_text" or (name == "open" and {"w", "x", "a"} & set(modes)):
                found.add(path.relative_to(SOURCE).as_posix())
    devnull = {"cli/running.py", "base/process.py", "training/distributed/one_rank.py"}
    assert found == devnull | {"runs/directory.py"}


# --- files


@pytest.fixture
def windows_sees(monkeypatch: pytest.MonkeyPatch) -> dict[int, object]:
    """What Windows answers about a process, by its id: an error, or whether it runs."""
    answers: dict[int, object] = {}

    def open_process(_access: int, _inherit: bool, pid: int) -> int:
        answer = answers.get(pid, OSError(errno.EINVAL, "the parameter is incorrect"))
        if isinstance(answer, OSError):
            raise answer
        return pid

    stand_in = SimpleNamespace(
        SYNCHRONIZE=0x100000,
        WAIT_TIMEOUT=258,
        OpenProcess=open_process,
        WaitForSingleObject=lambda handle, _wait: 258 if answers[handle] else 0,
        CloseHandle=lambda handle: None,
    )
    monkeypatch.setitem(sys.modules, "_winapi", stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it sends Ctrl-C on Windows"))
    return answers


def test_whether_a_process_runs_is_found_out_on_windows(windows_sees: dict[int, object]) -> None:
    windows_sees |= {1: True, 2: False, 3: PermissionError(errno.EACCES, "denied")}
    assert [files.alive(pid) for pid in (1, 2, 3, 4)] == [True, False, True, False]


def reader_of(monkeypatch: pytest.MonkeyPatch, times: int) -> list[float]:
    """The pauses between attempts to replace a file that a reader keeps open for ``times`` of them."""
    really, pauses = Path.replace, list[float]()

    def refuse(source: Path, target: Path) -> Path:
        if len(pauses) < times:
            raise PermissionError(errno.EACCES, "in use")
        return really(source, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_a_file_is_replaced_once_its_reader_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "last.pt").write_bytes(b"old")
    pauses = reader_of(monkeypatch, 3)
    monkeypatch.setattr(sys, "platform", "win32")
    files.atomic_write(tmp_path / "last.pt", b"new")
    assert (tmp_path / "last.pt").read_bytes() == b"new"
    assert len(pauses) == 3


@pytest.mark.parametrize(("system", "attempts"), [("win32", 5), ("linux", 0)])
def test_a_file_that_stays_open_elsewhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, attempts: int
) -> None:
    (tmp_path / "last.pt").write_bytes(b"old")
    pauses = reader_of(monkeypatch, 100)
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(OutputError, match="permission denied"):
        files.atomic_write(tmp_path / "last.pt", b"new")
    assert len(pauses) == attempts
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_error_of_windows_names_the_other_program(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "used by another process")
    error.winerror = 32  # type: ignore[attr-defined]
    told = files.explain_os_error(error, tmp_path / "last.pt", "write")
    assert "another program has it open" in told.message


@pytest.mark.parametrize("works", [True, False])
def test_on_macos_files_are_synced_past_the_drives_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """fsync alone leaves data in its cache there, as fsync(2) of macOS says."""
    fcntl = pytest.importorskip("fcntl")
    asked: list[str] = []

    def control(_descriptor: int, number: int) -> None:
        asked.append(f"fcntl {number}")
        if not works:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: asked.append("fsync"))
    monkeypatch.setattr(sys, "platform", "darwin")
    with (tmp_path / "a").open("wb") as file:
        files.sync(file)
    assert asked == (["fcntl 51"] if works else ["fcntl 51", "fsync"])


# --- input and output


@pytest.mark.parametrize(
    ("system", "line"),
    [("win32", r'a "b c" C:\d'), ("linux", r"a 'b c' 'C:\d'")],
)
def test_a_command_is_quoted_as_the_systems_shell_wants_it(
    monkeypatch: pytest.MonkeyPatch, system: str, line: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert process.command_line(["a", "b c", r"C:\d"]) == line


def test_paths_of_another_system_are_known_as_paths() -> None:
    for path in (r"C:\data\letters", "C:/data/letters", "/data/letters"):
        assert places.is_own_data(path)
        assert places.dataset_label(path) == "letters"
    assert places.ModelName(r"C:\nets\net.py:Net").label == "net.py:Net"
    assert not places.is_own_data("mnist")


def test_a_recipe_on_a_drive_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def compose(name: str, *_: object) -> Any:
        asked.append(name)
        return SimpleNamespace(to_plain=dict)

    monkeypatch.setattr("mnist_cli.api.recipe_layers.compose_config", compose)
    for text in (r"C:\mine.toml", r"C:\mine.toml:7", "fast:2"):
        bench._recipe(text, 3, [], {})
    assert asked == [r"C:\mine.toml", r"C:\mine.toml", "fast"]
