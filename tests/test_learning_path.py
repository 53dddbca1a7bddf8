"""The learning path: every command and statement on its pages runs, and prints what they show.
The answers of its exercises too.

``make docs`` writes into the pages what is printed now.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

LEARN = Path(__file__).parent.parent / "docs" / "learn"
PAGES = sorted(LEARN.glob("[0-9]-*.md"))
RENEW = os.environ.get("DOCS") == "rewrite"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A reader in an empty folder, without MNIST and without colours.

    Python imports the files that a page has saved there, as at its prompt.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("MNIST_DATA_DIR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for saved in tmp_path.glob("*.py"):
        sys.modules.pop(saved.stem, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_exercise_has_a_folded_answer(page: Path) -> None:
    exercises = page.read_text(encoding="utf-8").split("## Exercises\n")[1]
    number = len(re.findall(r"^\*\*\d\.\*\*", exercises, re.MULTILINE))
    assert number >= 2
    answers = re.findall(
        r"^<details>\n<summary>Answer</summary>\n\n.+?\n</details>$", exercises, re.M | re.S
    )
    assert len(answers) == number


def test_the_pages_show_every_picture_and_each_is_small() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = {LEARN / name for name in re.findall(r"!\[[^\]]+\]\(([\w-]+\.png)\)", text)}
    assert shown == set(LEARN.glob("*.png"))
    assert all(picture.stat().st_size < 100_000 for picture in shown)


@pytest.mark.timeout(900)  # 15 seconds of one core, where one is free
@pytest.mark.usefixtures("reader")
def test_every_command_and_its_output() -> None:
    assert len(PAGES) == 6
    differing = [what for page in PAGES for what in pages.run_page(page, renew=RENEW)]
    assert not differing, "\n\n".join([*differing, "If that is right: make docs"])
