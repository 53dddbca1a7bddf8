"""Draws the pictures of README and docs from real runs: ``MNIST_DATA_DIR=… python docs/pictures.py``.

After it names of pictures, as ``layer``, to draw those alone.

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
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH = 100
"""Columns: on a page that shows the picture 830 pixels wide, letters are as large as its text."""
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


def draw_network(folder: Path) -> None:
    """A whole network's graph, that of the learning path, as ``mnist inspect-grad`` writes it."""
    subprocess.run(
        [sys.executable, "-m", "mnist_cli", "inspect-grad", "--model", "notebook", "--replay",
         "--precision", "fp32", "--eval", "--batch-size", "8", "-q", "--direction", "right",
         "--out", folder],
        check=True,
    )  # fmt: skip
    shutil.copy(folder / "graph.svg", DOCS / "graph.svg")


def draw_layer() -> None:
    """The graph of one linear layer on 64 digits, small enough to be read at a glance."""
    import torch
    from torch.nn import functional as F

    from mnist_cli.autograd import judge, record, replay, trace_modules, walk
    from mnist_cli.autograd.render import svg
    from mnist_cli.data.load import load

    data = load("digits", Path("data"))
    images, labels = data.normalisation(data.train.images[:64].float()), data.train.labels[:64]
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        OrderedDict(flat=torch.nn.Flatten(), fc=torch.nn.Linear(28 * 28, 10))
    )
    with trace_modules(model) as modules:
        loss = F.cross_entropy(model(images), labels)
    walked = walk(loss, names=model, modules=modules)
    recording = record(walked, keep=True)
    graph = recording.graph.with_context(model="one linear layer", dataset="64 digits")
    graph = replace(graph, replay=judge(replay(walked), recording))
    (DOCS / "layer.svg").write_text(svg.render(graph, direction="right"), encoding="utf-8")


def main() -> None:
    """Draw them all, or those that are named: train, graph, layer."""
    wanted = sys.argv[1:] or ["train", "graph", "layer"]
    with tempfile.TemporaryDirectory() as folder:
        if "train" in wanted:
            draw([["train"]], Path(folder), DOCS / "train.svg")
        if "graph" in wanted:
            draw_network(Path(folder))
        if "layer" in wanted:
            draw_layer()


if __name__ == "__main__":
    main()
