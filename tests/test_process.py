"""Starting the program again, and what the system refuses it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mnist_cli
from mnist_cli import process
from mnist_cli.errors import CheckpointError, OutOfMemory, OutputError

SOURCE = Path(mnist_cli.__file__).parent


def test_what_lies_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/usr/bin", *sys.path[1:]])  # as the script `mnist` has it
    paths = [str(SOURCE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # installed, however tests are run
    done = subprocess.run(process.again("--version"), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"mnist {mnist_cli.__version__}\n", "")


def test_a_source_tree_that_is_run_in_place_stays_the_one_that_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    assert process.again("eval", module="it") == [sys.executable, "-m", "it", "eval"]


def test_nothing_else_starts_an_interpreter() -> None:
    users = [path.name for path in SOURCE.rglob("*.py") if "sys.executable" in path.read_text()]
    assert set(users) <= {"process.py", "launch.py"}  # torch's launcher is given the interpreter
    assert not [path for path in SOURCE.rglob("*.py") if '"-m", "' in path.read_text()]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "cannot write the output"),
        (PermissionError(errno.EACCES, "denied", "a.png"), OutputError, "cannot use a.png: denied"),
        (FileNotFoundError(errno.ENOENT, "No usable temp folder"), OutputError, "No usable temp"),
        (MemoryError(), OutOfMemory, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemory, "out of memory"),
        (CheckpointError("as it is"), CheckpointError, "as it is"),
    ],
)
def test_what_is_expected(error: Exception, kind: type, words: str) -> None:
    known = process.expected(error)
    assert type(known) is kind
    assert words in known.message


def test_a_bug_is_not_expected() -> None:
    assert process.expected(ValueError("out of luck")) is None
