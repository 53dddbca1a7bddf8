"""Links and pictures of Markdown pages, notebooks and HTML pages, and which of them are dead."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "data", "poster"}
"""Attributes whose target a browser fetches with the page; of `link`, also `href`."""


def without_blocks(text: str) -> str:
    """Markdown without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def markdown(path: Path) -> str:
    """The text of a page, or of the text cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return without_blocks(text)
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


class Page(HTMLParser):
    """What an HTML page links to, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.linked: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in {"id", "name"}:
                self.anchors.add(value)
            elif value and (name in LOADED or (name == "href" and tag == "link")):
                urls = value.split(",") if name == "srcset" else [value]
                self.loaded += [url.split()[0] for url in urls if url.strip()]
            elif value and name == "href":
                self.linked.append(value)


def targets(text: str) -> Iterator[str]:
    """Every target in the text of a Markdown page, also those of HTML tags in it."""
    prose = re.sub(r"`[^`\n]+`", "", text)
    yield from re.findall(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)", prose)
    yield from re.findall(r"^\[[^\]]+\]:\s*(\S+)", prose, re.M)
    html = Page(prose)
    yield from html.linked + html.loaded


def anchors(text: str) -> set[str]:
    """The names that GitHub gives headings; a repeated one gets a number."""
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        seen[re.sub(r"[^\w -]", "", plain.strip().lower()).replace(" ", "-")] += 1
    repeated = {f"{name}-{number}" for name, count in seen.items() for number in range(1, count)}
    return seen.keys() | repeated | Page(text).anchors


def dead_in_markdown(path: Path, text: str) -> list[str]:
    """The targets in the text of the page ``path`` that do not exist; the network is not asked."""
    dead = []
    for target in targets(text):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        there = path.parent / unquote(parts.path) if parts.path else path
        known = there.exists() and (
            not parts.fragment
            or there.suffix not in {".md", ".ipynb"}
            or unquote(parts.fragment) in anchors(text if not parts.path else markdown(there))
        )
        if not known:
            dead.append(target)
    return dead


@cache
def pages_of(root: Path) -> dict[Path, Page]:
    """The HTML pages of a folder, by path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}


def dead_in_html(root: Path) -> list[str]:
    """In a folder of HTML pages, each target that does not exist there, with its page."""
    pages = pages_of(root)
    dead = []
    for path, page in pages.items():
        for target in page.linked + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            lost = parts.fragment and there in pages and parts.fragment not in pages[there].anchors
            if not there.is_file() or lost:
                dead.append(f"{path.relative_to(root)}: {target}")
    return dead


def elsewhere(root: Path) -> list[str]:
    """In a folder of HTML pages, what they load from another host, with the page."""
    return [
        f"{path.relative_to(root)}: {target}"
        for path, page in pages_of(root).items()
        for target in page.loaded
        if urlsplit(target).netloc
    ]
