"""What ``--help`` shows beside the options: the groups of commands, examples, lines that fit.

Imports nothing slow: it is read for every ``--help``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Train and test": ("train", "eval", "predict", "draw", "sweep", "bench"),
    "Look inside": ("inspect-grad", "plot", "model"),
    "Manage": ("runs", "data", "config", "export", "doctor"),
}
"""The commands of each panel of ``mnist --help``, in its order."""

SUMMARIES: Mapping[str, str] = {
    "train": "Train a network and measure its accuracy on the test set.",
    "sweep": "Train every combination of some settings, each with --seeds N seeds, and compare them.",
    "eval": "Evaluate a checkpoint: loss, accuracy, metrics per class, confusion matrix, mistakes.",
    "predict": "Classify pictures: the digit, and the three most likely classes with their probabilities.",
    "draw": "Serve a page to draw digits on, and classify them stroke by stroke.",
    "bench": "Compare recipes on this machine: seconds to a test accuracy, speed and memory.",
    "inspect-grad": "Show the backward graph of one batch's loss, with the real gradient at every node.",
    "plot": "Draw a run: curves, filters, activations, saliency, mistakes, a map of the test set.",
    "model": "Print a layer-by-layer summary: shapes, weights, multiply-adds and memory of each operation.",
    "export": "Export a network as ONNX, as a torch.export program or as safetensors.",
    "doctor": "Report whether the GPU works, or how to fix it; list versions, CPU, memory and data.",
    "runs": "List the runs under --runs: data set, network, epochs, accuracy, seconds, device, date.",
    "data": "Data sets on disk: fetch, verify, show, path, convert.",
    "config": "Recipes: list the presets, show one with the meaning of each key.",
}
"""The first paragraph of each command's help, in Typer's order: ``mnist --help`` imports no command."""

Example = tuple[str, str]
EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "mnist": (
        ("mnist train --config fast", "99% on MNIST in under a second of training"),
        ("mnist eval", "metrics per class of the newest run"),
        ("mnist inspect-grad --open", "its backward graph, in the browser"),
    ),
    "mnist train": (
        ("mnist train --config fast", "99% in under a second"),
        ("mnist train --epochs 3 --lr 0.1 --set ema=0.9", "your own recipe"),
        ("mnist train --config smoke --print-config", "what would run, as TOML"),
    ),
    "mnist sweep": (
        ("mnist sweep --config smoke --set lr=0.003,0.01", "two rates"),
        ("mnist sweep --config smoke --set lr=0.003,0.01 --seeds 3", "six runs"),
        ("mnist runs --sort accuracy", "the best first"),
    ),
    "mnist eval": (
        ("mnist eval", "the newest run on the test set"),
        ("mnist eval 1 --split val", "run 1 on its validation set"),
        ("mnist eval --out plots --open", "confusion and mistakes as pictures"),
    ),
    "mnist predict": (
        ("mnist data convert digits -o pictures -f png", "some pictures to try"),
        ("mnist predict pictures/test/7", "each picture of a folder"),
        ("mnist predict -k 1 --json pictures/test/3", "by run 1, as JSON"),
    ),
    "mnist draw": (
        ("mnist draw --open", "in your browser"),
        ("mnist draw 1 --port 8000", "run 1, on a port that you choose"),
        ("mnist draw --json", "prints the address for a script"),
    ),
    "mnist inspect-grad": (
        ("mnist inspect-grad --open", "as a page"),
        ("mnist inspect-grad --replay --quiet", "bit for bit?"),
        ('mnist inspect-grad --expr "x * y" --at x=2 --at y=3', "one node"),
    ),
    "mnist plot": (
        ("mnist plot --only filters,mistakes --open", "two pictures, shown"),
        ("mnist plot 1 --only curves --format pdf", "run 1's curves as PDF"),
        ("mnist plot --only activations --image 7", "one image through the layers"),
    ),
    "mnist model": (
        ("mnist model conv2", "a network by name"),
        ("mnist model conv4x0.5 --batch-size 64", "half as wide, 64 images"),
        ("mnist model 1 --json", "the network of run 1, as JSON"),
    ),
    "mnist export": (
        ("mnist export --format torch", "a torch.export program"),
        ("mnist export 1 --format torch --out one.pt2", "run 1, another name"),
        ("mnist export --format torch --batch-size 1 --force", "one image at once"),
    ),
    "mnist bench": (
        ("mnist bench smoke:2 --target 0.85", "two runs of a recipe"),
        ("mnist bench fast:5 onecycle:5", "two recipes side by side"),
        ("mnist bench --scaling --factors threads", "how the cost grows"),
    ),
    "mnist runs": (
        ("mnist runs", "all runs"),
        ("mnist runs --sort accuracy", "the best first"),
        ("mnist runs --json", "for a script"),
    ),
    "mnist runs show": (
        ("mnist runs show 1", "run 1: recipe, result, files"),
        ("mnist runs show 1 --json", "for a script"),
        ("mnist config show 1", "its recipe, with each key's meaning"),
    ),
    "mnist runs rm": (
        ("mnist train --config smoke --name scratch", "a run to delete"),
        ("mnist runs rm scratch --yes", "without asking"),
        ("mnist runs", "what is left"),
    ),
    "mnist runs compare": (
        ("mnist train --config smoke --seed 1", "a second run"),
        ("mnist runs compare 1 2", "what differs between runs 1 and 2"),
        ("mnist runs compare 1 2 --json", "for a script"),
    ),
    "mnist data": (
        ("mnist data fetch", "MNIST, about 12 MB"),
        ("mnist data show digits", "some images in the terminal"),
        ("mnist data verify digits", "checksums"),
    ),
    "mnist data fetch": (
        ("mnist data fetch", "MNIST"),
        ("mnist data fetch fashion-mnist --data-dir data", "into a folder"),
        ("mnist data fetch kmnist --timeout 60", "at most a minute"),
    ),
    "mnist data verify": (
        ("mnist data verify", "MNIST"),
        ("mnist data verify digits", "the bundled digits"),
        ("mnist data verify --json", "for a script"),
    ),
    "mnist data path": (
        ("mnist data path", "MNIST"),
        ("mnist data path --data-dir data", "in this folder"),
        ("mnist data path --json", "for a script"),
    ),
    "mnist data show": (
        ("mnist data show digits --split test --indices 3,14", "two images"),
        ("mnist data show digits -n 50 --out digits.png", "fifty, as a picture"),
        ("mnist data show --augmented --set rotate=30", "what training sees"),
    ),
    "mnist data convert": (
        ("mnist data convert digits --out digits-idx", "as IDX files"),
        ("mnist data convert digits --out digits-png --format png", "as PNGs"),
        ("mnist train --dataset ./digits-png --epochs 1", "train on them"),
    ),
    "mnist config": (
        ("mnist config list", "the presets"),
        ("mnist config show fast", "one, with each key's meaning"),
        ("mnist config show fast > my.toml", "a recipe to change"),
    ),
    "mnist config list": (
        ("mnist config list", "a line for each preset"),
        ("mnist config list --json", "for a script"),
        ("mnist config show accurate", "one of them in full"),
    ),
    "mnist config show": (
        ("mnist config show fast", "a preset"),
        ("mnist config show fast > my.toml", "a recipe to change"),
        ("mnist train --config my.toml", "train it"),
    ),
    "mnist doctor": (
        ("mnist doctor", "does the GPU work?"),
        ("mnist doctor --prove", "does this machine compute correctly?"),
        ("mnist doctor --json", "for a script"),
    ),
}
"""By command, what to type and what it is for. Each runs as typed after ``make train``."""

LEAST = 14
"""Columns that the narrowest terminal leaves for the words to choose from."""


def panel(name: str) -> str:
    """The panel of a command in ``mnist --help``."""
    return next(title for title, names in GROUPS.items() if name in names)


def epilog(path: str) -> str:
    """The examples of a command, as Typer prints them in rich's markup; empty if it has none."""
    found = EXAMPLES.get(path, ())
    width = max((len(typed) for typed, _ in found), default=0)
    lines = [f"{typed:{width}}  [dim]# {what}[/dim]" for typed, what in found]
    return "\n".join(["[bold]Examples[/bold]", *lines]) if lines else ""


def broken(choices: str, columns: int) -> str:
    """Words between bars, in lines that break after a bar: ``sgd|adam|`` and ``adamw|muon``.

    Args:
        choices: such as ``sgd|adam|adamw|muon``.
        columns: of the terminal; a fifth of them is one line's.
    """
    lines = [""]
    for word in choices.replace("|", "|\0").split("\0"):
        fits = len(lines[-1]) + len(word) <= max(LEAST, columns // 5)
        lines[-1:] = [lines[-1] + word] if fits or not lines[-1] else [lines[-1], word]
    return "\n".join(lines)


def filled(callback: Callable[..., object] | None) -> str:
    """The docstring of a command, each paragraph in one line."""
    paragraphs = inspect.cleandoc(getattr(callback, "__doc__", None) or "").split("\n\n")
    return "\n\n".join(" ".join(lines.split()) for lines in paragraphs)
