"""Draws the pictures of README and docs from real runs: ``MNIST_DATA_DIR=… python docs/pictures.py``.

Names of pictures, such as ``layer``, draw only these; ``learn`` draws those of the learning path,
by running its pages. rich turns the terminal's output, with its
escape codes, into an SVG.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH = 100
"""Columns. On a page that shows the picture 830 pixels wide, letters are as large as its text."""
WINDOW = {"width": 940, "height": 632, "deviceScaleFactor": 1.5}
PAGE = {"width": 1280, "height": 800, "deviceScaleFactor": 1}
FIVE = [(0.71, 0.17), (0.55, 0.18), (0.37, 0.19), (0.35, 0.32), (0.33, 0.46), (0.42, 0.45),
        (0.53, 0.43), (0.68, 0.5), (0.71, 0.64), (0.63, 0.79), (0.47, 0.84), (0.31, 0.79)]  # fmt: skip
"""A five, in shares of the drawing's side."""
LEARN = {
    "digits.png": "digits.png",
    "curves.png": "runs/0001-digits-notebook/curves.png",
    "filters.png": "runs/0001-digits-notebook/plots/filters.png",
    "saliency.png": "runs/0001-digits-notebook/plots/saliency.png",
    "mistakes.png": "runs/0001-digits-notebook/plots/mistakes.png",
    "rates.png": "runs/sweeps/sweep-1/sweep.png",
    "find-lr.png": "runs/find-lr.png",
    "overfitting.png": "runs/0005-few/curves.png",
}
"""The pictures in docs/learn, and which file of a reader of the pages each is."""
WIPED = re.compile(r".*\x1b\[2K|\x1b\[\d*A|\x1b\[\?25[lh]|\r")
"""The traces of a progress bar: erased lines and movements of the cursor."""


def captured(command: list[str], folder: Path) -> str:
    """The output of a command on a terminal of our width, without its progress bar."""
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
        here = output.replace(f"{DOCS.resolve().parent}{os.sep}", "")  # as in a clone
        console.print(Text.from_ansi(here.strip("\n")))
    console.save_svg(str(path), title="mnist_cli")


def draw_network(folder: Path) -> None:
    """The graph of the learning path's network, as ``mnist inspect-grad`` writes it."""
    subprocess.run(
        [sys.executable, "-m", "mnist_cli", "inspect-grad", "--model", "notebook", "--replay",
         "--precision", "fp32", "--eval", "--batch-size", "8", "-q", "--direction", "right",
         "--out", folder],
        check=True,
    )  # fmt: skip
    shutil.copy(folder / "graph.svg", DOCS / "graph.svg")


def draw_layer() -> None:
    """The graph of one linear layer on 64 digits, small enough to read at a glance."""
    import torch
    from torch.nn import functional as F

    from mnist_cli.autograd import judge, record, replay, trace_modules, walk
    from mnist_cli.autograd.render import style, svg
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
    picture = svg.render(graph, direction="right")
    assert style.variables() in picture
    # One file per scheme: a page names the file for its own, which may differ from the system's.
    for name, palette in (("layer", style.LIGHT), ("layer-dark", style.DARK)):
        fixed = picture.replace(style.variables(), style.block(":root", palette))
        (DOCS / f"{name}.svg").write_text(fixed, encoding="utf-8")


def draw_page(folder: Path) -> None:
    """The page of ``mnist draw`` with a digit drawn on it, in Chromium; ``fast`` reads it."""
    sys.path[:0] = [str(DOCS.parent / "tests"), str(DOCS.parent / "tests" / "commands")]
    from chromium import Browser
    from drawn import drawing
    from program import wait_until

    train = [sys.executable, "-m", "mnist_cli", "train", "--config", "fast", "-q"]
    subprocess.run(train, check=True, cwd=folder)
    with contextlib.chdir(folder), drawing() as page, Browser() as browser:
        browser.allowed = ("about:", page.url)
        browser.call("Emulation.setDeviceMetricsOverride", **WINDOW, mobile=False)
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(page.url)
        wait_until(lambda: state(browser) == "blank")
        left, top, side = browser.evaluate(
            "(({x, y, width}) => [x, y, width])"
            "(document.getElementById('drawing').getBoundingClientRect())"
        )
        points = [(left + side * x, top + side * y) for x, y in smooth(FIVE)]
        browser.mouse("mousePressed", *points[0], button="left", buttons=1, clickCount=1)
        for point in points[1:]:
            browser.mouse("mouseMoved", *point, button="left", buttons=1)
        browser.mouse("mouseReleased", *points[-1], button="left", clickCount=1)
        wait_until(lambda: state(browser) == "answered")
        shoot(browser, "draw")


def draw_graph_page(folder: Path) -> None:
    """The page of resnet50's graph in Chromium, with the figures of a module."""
    sys.path[:0] = [str(DOCS.parent / "tests")]
    import torch
    import torchvision
    from chromium import Browser

    from mnist_cli.autograd import inspect

    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None, num_classes=10)
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 1])
    report = inspect(lambda: torch.nn.functional.cross_entropy(model(images), labels), model)
    report.save(folder / "graph.html")
    with Browser() as browser:
        browser.call("Emulation.setDeviceMetricsOverride", **PAGE, mobile=False)
        browser.open(folder / "graph.html")
        for click in (
            "[...document.querySelectorAll('button')].find(b => b.textContent === 'Both')",
            "[...document.querySelectorAll('a, button')].find(b => b.textContent === 'layer1')",
            "[...document.querySelectorAll('button')].find(b => b.textContent.startsWith('Open in'))",
        ):
            browser.evaluate(f"{click}.click()")
        browser.evaluate("document.getElementById('legend').open = false")
        shoot(browser, "autograd_page")


def shoot(browser: Any, name: str) -> None:
    """Screenshots of a page in both colour schemes: ``NAME.png`` and ``NAME-dark.png``."""
    from PIL import Image

    for scheme, ending in (("light", ""), ("dark", "-dark")):
        browser.media(prefers_color_scheme=scheme)
        time.sleep(1)  # for the page to draw again
        path = DOCS / f"{name}{ending}.png"
        browser.screenshot(path)
        Image.open(path).convert("RGB").save(path, optimize=True)


def draw_learning_path(folder: Path) -> None:
    """The pictures that a reader of the learning path gets, in fewer colours and so smaller."""
    folder.mkdir()
    sys.path[:0] = [str(DOCS.parent / "tests"), str(folder)]
    import pages
    from PIL import Image

    from mnist_cli import cli

    os.environ["COLUMNS"] = "100"
    os.environ.pop("MNIST_DATA_DIR", None)
    with contextlib.chdir(folder):
        cli.run(["data", "show", "digits", "--out", "digits.png"])
        for page in sorted((DOCS / "learn").glob("[4-6]-*.md")):
            pages.run_page(page, renew=False)
    for name, path in LEARN.items():
        picture = Image.open(folder / path).convert("RGB")
        few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(DOCS / "learn" / name, optimize=True)


def state(browser: Any) -> str:
    """What the page is doing: loading, blank, asking or answered."""
    return str(browser.evaluate("document.body.dataset.state"))


def smooth(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A curve through points, eight steps from each to the next (Catmull and Rom)."""
    ends = [corners[0], *corners, corners[-1]]
    curve = []
    for before, start, end, after in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        for t in (step / 8 for step in range(8)):
            weights = ((-t + 2 * t**2 - t**3) / 2, 1 - 2.5 * t**2 + 1.5 * t**3)
            weights += ((t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2)
            near = (before, start, end, after)
            curve.append(
                tuple(sum(w * p[i] for w, p in zip(weights, near, strict=True)) for i in (0, 1))
            )
    return [*curve, corners[-1]]  # type: ignore[list-item]


def main() -> None:
    """Draw all pictures, or those that are named: train, graph, layer, learn, draw, page."""
    wanted = sys.argv[1:] or ["train", "graph", "layer", "learn", "draw", "page"]
    with tempfile.TemporaryDirectory() as folder:
        if "train" in wanted:
            draw([["train"]], Path(folder), DOCS / "train.svg")
        if "graph" in wanted:
            draw_network(Path(folder))
        if "layer" in wanted:
            draw_layer()
        if "learn" in wanted:
            draw_learning_path(Path(folder, "learn"))
        if "draw" in wanted:
            draw_page(Path(folder))
        if "page" in wanted:
            draw_graph_page(Path(folder))


if __name__ == "__main__":
    main()
