"""``make train`` with a program that only says how it was called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_posix

from mnist_cli import cli

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.skipif(shutil.which("make") is None, reason="no make here"),
    needs_posix,  # a shell script stands in for the program
]


def make_train(folder: Path, arguments: str) -> list[str]:
    """What it prints, line by line, where everything is installed already."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "mnist"
    program.write_text('#!/bin/sh\necho "called: $*"\ncase $1 in eval) echo "second line";; esac\n')
    program.chmod(0o755)
    for stamp in (".python", ".run"):
        (folder / stamp).touch()
    words = ["make", "--silent", "train", f"VENV={folder}", f"ARGS={arguments}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


CALLS = ["train --epochs 1", "inspect-grad --replay --format json,svg,html", "eval"]


def test_make_train_ends_with_the_accuracy_and_next_steps(tmp_path: Path) -> None:
    """Of what `mnist eval` prints, the first line."""
    lines = make_train(tmp_path, "--epochs 1")
    assert lines[:3] == [f"called: {call}" for call in CALLS]
    assert "second line" not in lines
    shown = " ".join(lines[3:])
    for name in ("eval", "draw"):
        assert f"{tmp_path}/bin/mnist {name} " in shown
        assert name in {command.name for command in cli.build().registered_commands}
    assert len(lines) == 3 + 4


@pytest.mark.parametrize("flag", ["--quiet", "-q", "--json"])
def test_quiet_make_train_prints_the_outputs_only(tmp_path: Path, flag: str) -> None:
    lines = make_train(tmp_path, f"--epochs 1 {flag}")
    assert lines[0] == f"called: train --epochs 1 {flag}"
    assert lines[1:] == [f"called: {CALLS[1]}", f"called: {CALLS[2]}", "second line"]


def make_gpu(folder: Path, proven: int, tested: int) -> tuple[int, list[str]]:
    """The exit code of ``make gpu`` and its calls, where Python is a script with these codes."""
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in -c*) exit 0;; esac\n'  # the look for packages
        f'echo "$*" >> {folder}/calls\n'
        f'case "$*" in *mnist_cli*) echo table > gpu.md; exit {proven};; esac\n'
        f"exit {tested}\n"
    )
    python.chmod(0o755)
    for name in ("Makefile", "tests"):
        (folder / name).symlink_to(ROOT / name)
    words = ["make", "--silent", "gpu", f"GPU_PYTHON={python}", "DEVICE=cuda:1"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert "table" in done.stdout
    return done.returncode, (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(("proven", "tested"), [(0, 0), (6, 0), (0, 1)])
def test_make_gpu_runs_both_checks_even_if_one_fails(
    tmp_path: Path, proven: int, tested: int
) -> None:
    code, calls = make_gpu(tmp_path, proven, tested)
    assert (code == 0) == (proven == tested == 0)
    assert calls[0] == "-m mnist_cli doctor --prove --device cuda:1 --json --out gpu.md"
    assert calls[1].startswith("-m pytest -c tests/bare.ini --rootdir . -m cuda ")
    assert "tests/training/test_graphed.py" in calls[1].split()
    assert len(calls) == 2


def test_make_gpu_names_missing_packages(tmp_path: Path) -> None:
    """A Python with nothing installed."""
    words = ["make", "--silent", "gpu", f"GPU_PYTHON={sys.executable} -S -I"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "lacks torch, numpy, typer" in done.stderr
    assert "Traceback" not in done.stderr
