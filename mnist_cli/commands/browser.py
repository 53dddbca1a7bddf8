"""``--open``: shows files and pages in the user's browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mnist_cli import options

FEW = 3
"""Number of files that are opened one by one; of more, their folder is."""

OpenFlag = Annotated[
    bool,
    typer.Option("--open", help="Open the result in your browser.", rich_help_panel=options.OUTPUT),
]


def show(files: Sequence[Path]) -> None:
    """Open each file, or the folder of many."""
    for path in files if len(files) <= FEW else [files[0].parent]:
        open_url(path.resolve().as_uri(), str(path))


def open_url(url: str, name: str = "") -> None:
    """Open a page; a browser in the terminal keeps this thread until it is closed.

    Args:
        url: of the page.
        name: what to open by hand if no browser can be opened; empty is the address.
    """
    import webbrowser

    from mnist_cli.report.console import warn

    if not webbrowser.open(url):
        warn(f"no browser could be opened; open {name or url} in yours")
