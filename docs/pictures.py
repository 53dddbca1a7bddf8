"""Draws the README's pictures from real runs: ``MNIST_DATA_DIR=… python docs/pictures.py``.

The terminal's picture is what the program wrote, escape codes and all, turned into an SVG by rich.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH = 128
WIPED = re.compile(r".*\x1b\[2K|\x1b\[\d*A|\x1b\[\?25[lh]|\r")
"""What a progress bar leaves in the stream: lines wiped away, and movements of the cursor."""


def captured(command: list[str], folder: Path) -> str:
    """What a command writes to a terminal of our width, without the bar that it wipes away."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, stdout=follower, stderr=follower, env=environment, cwd=folder
    )
    os.close(follower)
    pieces = []
    try:
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    except OSError:  # the end of a pseudo-terminal, on Linux
        pass
    process.wait()
    lines = [WIPED.sub("", line) for line in b"".join(pieces).decode().split("\n")]
    return "\n".join(line for line in lines if "━" not in line)


def draw(commands: list[list[str]], folder: Path, path: Path) -> None:
    """Run commands one after the other and draw the terminal that shows them."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    for arguments in commands:
        console.print(Text("$ mnist " + " ".join(arguments), style="bold"))
        output = captured([sys.executable, "-m", "mnist_cli", *arguments], folder)
        console.print(Text.from_ansi(output.strip("\n")))
    console.save_svg(str(path), title="mnist_cli")


def main() -> None:
    """Draw them all."""
    with tempfile.TemporaryDirectory() as folder:
        draw([["train"]], Path(folder), DOCS / "train.svg")
        subprocess.run(
            [sys.executable, "-m", "mnist_cli", "inspect-grad", "--model", "conv2", "--replay",
             "--precision", "fp32", "--batch", "64", "-q", "--direction", "right", "--out", folder],
            check=True,
        )  # fmt: skip
        shutil.copy(Path(folder) / "graph.svg", DOCS / "graph.svg")


if __name__ == "__main__":
    main()
