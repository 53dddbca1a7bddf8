"""Each guarantee names its tests, and each fault that is tried has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

GUARANTEES = {
    "equals the uninterrupted one, bit for bit": "equals the uninterrupted one, bit for bit",
    "`mnist train --verify-resume` checks this": "`mnist train --verify-resume`",
    "loses at most the batches since": "loses at most the batches since",
    "survive a power cut": "power cut",
    "can cause an error but never runs code": "never runs code",
}
"""A phrase of each guarantee of the guide, and one of the row here that names its tests."""


def rows() -> dict[str, str]:
    """The rows of the table: failure and guarantee, and the tests."""
    table = RELIABILITY.split("## Guarantees")[1].split("\n## ")[0].strip().splitlines()[2:]
    return dict(row.strip("| ").rsplit(" | ", 1) for row in table if row.startswith("|"))


def guarantees() -> list[str]:
    """The guarantees that the guide lists."""
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    return re.findall(r"^- (.*)$", guide.split("### Guarantees")[1].split("\n#")[0], re.MULTILINE)


def test_each_guarantee_of_the_guide_names_a_test() -> None:
    assert len(guarantees()) == len(GUARANTEES)
    for said, (phrase, row) in zip(guarantees(), GUARANTEES.items(), strict=True):
        assert phrase in said
        assert any(row in one and "`tests/" in tests for one, tests in rows().items()), phrase


def faults() -> list[tuple[str, str]]:
    """The tests that fill a row of the table of faults."""
    return [
        (path.relative_to(ROOT).as_posix(), node.name)
        for path in sorted((ROOT / "tests" / "torture").glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and "tally" in {argument.arg for argument in node.args.args}
    ]


def test_each_fault_that_is_tried_has_a_row() -> None:
    held = " ".join(rows().values())
    assert faults()
    assert [f"{path}::{name}" for path, name in faults() if f"`{path}::{name}`" not in held] == []
