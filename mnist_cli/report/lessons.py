"""Which page of the learning path explains what a command has printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mnist_cli.report.console import note, stdout

FOLDER = "docs/learn"
"""Where the pages are in the source code. An installed package does not have them."""

FAULTS = "6-when-it-goes-wrong.md"
PAGES: Mapping[str, str] = {
    "model": "2-model.md",
    "gradients": "3-backprop.md#a-networks-graph",
    "train": "4-train.md#a-run",
    "eval": "4-train.md#evaluate",
    "plot": "5-visualise.md#the-pictures",
    "find-lr": f"{FAULTS}#the-learning-rate",
    "vanishing": f"{FAULTS}#vanishing-gradients",
    "dead-relu": f"{FAULTS}#dead-relus",
    **dict.fromkeys(
        ("exploding", "saturated", "no-gradient", "zero-gradient", "not-finite"),
        f"{FAULTS}#the-other-findings",
    ),
}
"""The page, and the heading on it, by what was printed; a finding has its kind."""


def point_to(subject: str) -> None:
    """Name the page about ``subject`` in a last line, on a terminal only."""
    if stdout().is_terminal:
        note(f"explained in {_place(PAGES[subject])}")


def _place(page: str) -> str:
    """The page's path from here, or in the source code if it is not on this machine."""
    pages = Path(__file__).parents[2] / FOLDER
    if not (pages / page.partition("#")[0]).is_file():
        return f"{FOLDER}/{page} of the source code"
    inside = pages.is_relative_to(Path.cwd())
    return f"{os.path.relpath(pages) if inside else pages}/{page}"
