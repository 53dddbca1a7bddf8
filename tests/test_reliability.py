"""docs/reliability.md: each promise names its test, and each torture test belongs to a promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

GUIDE_PROMISES = {
    "equals the uninterrupted one, bit for bit": "Interrupted and resumed equals uninterrupted",
    "`mnist train --verify-resume` proves it on your machine": "prove it on your machine",
    "never costs more than the batches since": "costs at most the batches since",
    "and never the checkpoint before": "and never the checkpoint before",
    "safe against power loss": "Safe against power loss",
    "can make the program fail, never execute": "can make the program fail, never execute",
}
"""What the guide says in its paragraph, and how the row begins that names its tests."""


def promises() -> dict[str, str]:
    """The rows of the table: promise, and what holds it."""
    rows = RELIABILITY.split("## Promises")[1].split("\n## ")[0].strip().splitlines()[2:]
    return dict(row.strip("| ").rsplit(" | ", 1) for row in rows if row.startswith("|"))


def guide_paragraph() -> str:
    (found,) = re.findall(r"^\*\*What is promised\.\*\* (.*)$", guide(), re.MULTILINE)
    return str(found)


def guide() -> str:
    return (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("said", GUIDE_PROMISES)
def test_each_promise_of_the_guide_has_a_test(said: str) -> None:
    assert said in guide_paragraph()
    (holds,) = [tests for row, tests in promises().items() if GUIDE_PROMISES[said] in row]
    assert "`tests/" in holds


def test_the_guide_promises_nothing_else() -> None:
    *sentences, pointer = re.split(r"(?<=\.) (?=[A-Z\[])", guide_paragraph())
    assert "(reliability.md)" in pointer
    for sentence in sentences:
        assert any(said in sentence for said in GUIDE_PROMISES), f"add it above: {sentence}"


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


def test_each_torture_test_belongs_to_a_promise() -> None:
    held = " ".join(promises().values())
    assert faults()
    assert [f"{path}::{name}" for path, name in faults() if f"`{path}::{name}`" not in held] == []
