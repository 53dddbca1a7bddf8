"""Starting the program again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_cli
from mnist_cli.base import process

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
    assert users == ["process.py"]
    assert not [path for path in SOURCE.rglob("*.py") if '"-m", "' in path.read_text()]


def test_what_libraries_write_to_stdout_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with process.stdout_discarded():
        os.write(1, b"[Gloo] Rank 0 is connected\n")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "before\nafter\n"
