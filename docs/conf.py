"""Builds README.md and docs/ as a website: ``make site``.

Sphinx reads the same files that GitHub shows, from the root of the repository, so their links and
pictures stay as they are. Only the navigation below is added.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PICTURES = {".svg", ".png"}

# By heading, the pages in the order of the menu. Pages that are missing here follow under "Use".
NAVIGATION: dict[str, list[str]] = {
    "Use": [
        *("docs/guide", "docs/api", "docs/training", "docs/reference"),
        *("docs/own", "docs/export", "docs/docker"),
    ],
    "Learn": ["docs/learn/README"],
    "Gradients": ["docs/autograd", "docs/inspect", "docs/questions"],
    "Measurements": [
        "docs/speed",
        "docs/predict",
        "docs/gpu",
        "docs/reliability",
        "docs/peers",
    ],
    "Project": ["CHANGELOG", "CONTRIBUTING", "SECURITY"],
}
BELOW: dict[str, list[str]] = {
    "docs/learn/README": sorted(
        f"docs/learn/{path.stem}" for path in (ROOT / "docs/learn").glob("[0-9]-*.md")
    ),
}


def unlisted() -> list[str]:
    """The pages of docs/ that the menu does not name."""
    named = {page for pages in (*NAVIGATION.values(), *BELOW.values()) for page in pages}
    pages = (path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".ipynb"})
    names = {path.relative_to(ROOT).with_suffix("").as_posix() for path in pages}
    return sorted(names - named)


NAVIGATION["Use"] += unlisted()

project = "mnist_cli"
author = "The mnist_cli authors"
release = re.findall(r'__version__ = "(.*)"', (ROOT / "mnist_cli/base/version.py").read_text())[0]

extensions = ["myst_nb"]
root_doc = "README"
include_patterns = ["*.md", "docs/**"]
exclude_patterns = [".*", "build", "runs", "data", "dist", "gpu.md"]  # `make gpu` writes gpu.md

myst_heading_anchors = 6
nb_execution_mode = "off"

html_theme = "furo"
html_title = f"mnist_cli {release}"
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def add_navigation(_app: Any, page: str, source: list[str]) -> None:
    """Append the menu to the pages that have pages below them."""
    if page == root_doc:
        for heading, pages in NAVIGATION.items():
            source[0] += _menu(pages, f":caption: {heading}\n:hidden:\n")
    if page in BELOW:
        source[0] += _menu(BELOW[page], ":hidden:\n")


def _menu(pages: list[str], options: str) -> str:
    lines = "\n".join(f"/{page}" for page in pages)
    return f"\n\n```{{toctree}}\n{options}\n{lines}\n```\n"


def copy_files(app: Any, error: Exception | None) -> None:
    """Put pictures where HTML tags look for them, and the first page where servers look for it."""
    if error is not None:
        return
    out = Path(app.outdir)
    shutil.copy(out / f"{root_doc}.html", out / "index.html")
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in PICTURES:
            there = out / path.relative_to(ROOT)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", copy_files)
