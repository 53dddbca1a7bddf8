"""Measures how long commands take to answer: ``python docs/start_trials.py``.

Prints the table of docs/speed.md: CPU seconds of a whole process, user and system, divided by those
of a process that only imports torch, or for commands that need no torch only typer and rich. The
processes take turns, so that all of them meet the same load; a row has the least of all rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TORCH, TERMINAL = "import torch", "import typer, rich.console"
FORMULA = ("inspect-grad", "--expr", "log(x * y)", "--at", "x=2", "--at", "y=[1, 3]")
COMMANDS: Mapping[str, Sequence[Sequence[str]]] = {
    TORCH: [
        ["eval"],
        ["predict", "digit.png"],
        ["inspect-grad"],
        FORMULA,
        ["model", "conv4"],
        ["doctor"],
        ["train", "--config", "smoke"],
        ["train", "--config", "fast"],
        ["data", "show"],
        ["predict", "missing.png"],
        ["eval", "missing.pt"],
        ["eval", "--split", "tset"],
    ],
    TERMINAL: [["--version"], ["--help"], ["train", "--help"], ["runs"], ["completion"]],
}
"""Per program to compare with: the commands, of which the first run makes what they read."""


def cpu_seconds(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """User and system seconds of a process and those that it waited for."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment, stdout=nothing, stderr=nothing
    )
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # has been waited for
    return usage.ru_utime + usage.ru_stime


def measured(command: Sequence[str], folder: Path) -> float:
    """CPU seconds of one command, or of a shell's request to complete ``mnist tr``."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    if list(command) == ["completion"]:
        environment |= {"_MNIST_COMPLETE": "complete_bash", "COMP_WORDS": "mnist tr"}
        environment["COMP_CWORD"], command = "1", []
    return cpu_seconds(["-m", "mnist_cli", *command], folder, environment)


def prepare(folder: Path) -> None:
    """Make a run of the bundled digits and a picture of one of them."""
    for command in (
        ["train", "--config", "smoke", "--quiet"],
        ["data", "convert", "digits", "--out", "digits", "--format", "png", "--quiet"],
    ):
        measured(command, folder)
    next((folder / "digits" / "test").rglob("*.png")).rename(folder / "digit.png")


def main() -> None:
    """Measure each command and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="the commands that contain this text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        print("| command | CPU seconds | compared with | ratio |\n| --- | --- | --- | --- |")
        for program, commands in COMMANDS.items():
            chosen = [one for one in commands if given.only in " ".join(one)]
            print_rows(program, chosen, folder, given.rounds)


def print_rows(program: str, commands: Sequence[Sequence[str]], folder: Path, rounds: int) -> None:
    """Measure the commands by turns with a program of one line, and print their rows."""
    least = dict.fromkeys(range(len(commands)), float("inf"))
    base = float("inf")
    for _ in range(rounds if commands else 0):
        base = min(base, cpu_seconds(["-c", program], folder, os.environ))
        for place, command in enumerate(commands):
            least[place] = min(least[place], measured(command, folder))
    if commands:
        print(f"| `{program}` | {base:.2f} | | 1 |")
    for place, command in enumerate(commands):
        words = "mnist " + " ".join(f"'{word}'" if " " in word else word for word in command)
        row = (f"`{words}`", f"{least[place]:.2f}", f"`{program}`", f"{least[place] / base:.2f}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
