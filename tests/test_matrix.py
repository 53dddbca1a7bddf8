"""``tests/matrix.py``: its verdict on rows that pass, fail and cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import matrix
import pytest


def _absent() -> tuple[str, ...]:
    raise matrix.NotHere("no such machine")


FINDS_ITS_ROW = """
import os
def test_it(): assert (os.environ["ROW"], os.environ["NAME"]) == ("1", "2")
"""


@pytest.mark.parametrize(
    ("body", "passed", "counts"),
    [
        (FINDS_ITS_ROW, True, "1 passed"),
        ("def test_it(): assert False", False, "1 failed"),
        ("import nothing_of_that_name", False, "1 error"),
        ("", False, "no tests ran in …"),
    ],
)
def test_a_rows_result_is_that_of_pytest(
    tmp_path: Path, body: str, passed: bool, counts: str
) -> None:
    """Under the row's own Python, with its environment."""
    test = tmp_path / "test_one.py"
    test.write_text(body)
    row = matrix.Row("plain", {"ROW": "1"}, lambda: ("env", "NAME=2", sys.executable))
    result = matrix.run(row, [str(test), "--rootdir", str(tmp_path)], "0")
    assert result.passed is passed
    assert result.counts.startswith(counts.rstrip("…"))
    assert bool(result.failures) is (counts in ("1 failed", "1 error"))


def test_a_row_that_cannot_run_gives_the_reason() -> None:
    result = matrix.run(matrix.Row("elsewhere", {}, _absent), [], "1")
    assert list(matrix.table([result]))[-1] == "| - | elsewhere | not run: no such machine | 0 |"


def test_the_default_paths_exist() -> None:
    for path in (*matrix.PATHS, *matrix.SPARED, *matrix.PROCESSES):
        file, _, test = path.rpartition("=")[2].partition("::")
        assert (matrix.ROOT / file).exists()
        assert not test or f"def {test}(" in (matrix.ROOT / file).read_text(encoding="utf-8")


def test_no_row_that_ran_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = matrix.Result("elsewhere", None, "not run: no such machine", 0)
    sound, broken = (matrix.Result("here", passed, "1", 0) for passed in (True, False))
    assert matrix.verdict([elsewhere]) == matrix.verdict([sound, broken]) == matrix.verdict([]) == 1
    assert matrix.verdict([sound, elsewhere]) == 0
