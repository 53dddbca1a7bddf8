"""The page of questions: every answer runs, and prints what the page shows.

``make docs`` writes into the page what is printed now.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pages

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"


def test_every_answer_and_its_output() -> None:
    differing = pages.run_page(PAGE, renew=os.environ.get("DOCS") == "rewrite")
    assert not differing, "\n\n".join([*differing, "If that is right: make docs"])


def test_every_question_has_an_answer_that_prints() -> None:
    sections = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) >= 20
    for section in sections:
        assert any(step.output for step in pages.steps(section)), section.splitlines()[0]
