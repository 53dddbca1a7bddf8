"""No link, anchor or picture of the documentation is dead, in the sources and as a website."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import links
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")}
    - {ROOT / "gpu.md"}  # `make gpu` writes it
)
BUILDERS = ("sphinx", "furo", "myst_nb")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert not links.dead_in_markdown(path, links.markdown(path))


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[a](docs/guide.md#exit-codes) [b](https://example.org/none) `[c](none.md)`", []),
        ("# Two words\n\n# Two words\n\n[a](#two-words-1)", []),
        ('<a id="here"></a> [a](#here) ![b](docs/draw.png "A page")', []),
        ("[a](docs/none.md)", ["docs/none.md"]),
        ("[a](docs/guide.md#none)", ["docs/guide.md#none"]),
        ("[a](docs/inspect.ipynb#none)", ["docs/inspect.ipynb#none"]),
        ("[a](#none) ![b](docs/none.png)", ["#none", "docs/none.png"]),
        ("[a]: docs/none.md", ["docs/none.md"]),
        ('<img src="docs/none.png">', ["docs/none.png"]),
        ('<source srcset="docs/draw.png, docs/none.svg 2x">', ["docs/none.svg"]),
        ("[a](<docs/none.md>)", ["docs/none.md"]),
    ],
)
def test_dead_links_are_found(text: str, dead: list[str]) -> None:
    assert links.dead_in_markdown(ROOT / "README.md", text) == dead


def test_dead_links_of_a_website_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y"></a><a href="b.html#none"></a><a href="#x"></a>'
        '<img src="none.png"><a href="none.html"></a><a href="https://example.org"></a>'
        '<script src="https://example.org/a.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="y">')
    dead = [f"a.html: {name}" for name in ("b.html#none", "none.html", "none.png")]
    assert sorted(links.dead_in_html(tmp_path)) == dead
    assert links.elsewhere(tmp_path) == ["a.html: https://example.org/a.js"]


def test_the_navigation_has_every_page_once() -> None:
    conf = runpy.run_path(str(DOCS / "conf.py"))
    menus = [*conf["NAVIGATION"].values(), *conf["BELOW"].values()]
    listed = [page for pages in menus for page in pages]
    published = [path for path in PAGES if path.parent in {ROOT, *DOCS.rglob("*"), DOCS}]
    names = {path.relative_to(ROOT).with_suffix("").as_posix() for path in published}
    assert sorted(listed) == sorted(names - {conf["root_doc"]})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The website, built as `make site` builds it."""
    if missing := [name for name in BUILDERS if find_spec(name) is None]:
        pytest.skip(f"no {', '.join(missing)}: pip install '.[site]'")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs"]
    words += ["-d", str(folder / "doctrees"), ".", str(folder / "out")]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"TZ": "UTC"}
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_no_link_of_the_website_is_dead(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > len(PAGES) - 5
    assert not links.dead_in_html(site)


def test_the_website_loads_nothing_from_another_host(site: Path) -> None:
    assert not links.elsewhere(site)
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "@import" not in text, path
        assert 'url("http' not in text, path


def test_the_website_shows_notebooks_with_their_pictures(site: Path) -> None:
    page = (site / "docs" / "inspect.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 5
    assert "cell_output" in page


def test_the_website_has_a_search_and_both_colour_schemes(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert 'action="search.html"' in page
    assert "theme-toggle" in page
