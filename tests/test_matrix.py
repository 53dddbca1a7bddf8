"""``tests/matrix.py``: its verdict on rows that pass, fail and cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import matrix
import pytest


def _absent() -> tuple[str, ...]:
    raise matrix.NotHere("no such machine")


@pytest.mark.parametrize(
    ("body", "passed", "counts"),
    [
        ("def test_it(): pass", True, "1 passed"),
        ("def test_it(): assert False", False, "1 failed"),
        ("import nothing_of_that_name", False, "1 error"),
    ],
)
def test_a_row_is_what_pytest_says(tmp_path: Path, body: str, passed: bool, counts: str) -> None:
    test = tmp_path / "test_one.py"
    test.write_text(body)
    result = matrix.run(matrix.Row("plain"), [str(test), "--rootdir", str(tmp_path)], "1")
    assert (result.passed, result.counts) == (passed, counts)
    assert bool(result.failures) != passed


def test_a_row_has_its_own_environment_and_python(tmp_path: Path) -> None:
    test = tmp_path / "test_one.py"
    test.write_text("import os\ndef test_it(): assert os.environ['ROW'] == os.environ['NAME']")
    python = lambda: ("env", "NAME=1", sys.executable)  # noqa: E731
    for value, passed in (("1", True), ("2", False)):
        row = matrix.Row("plain", {"ROW": value}, python)
        assert matrix.run(row, [str(test), "--rootdir", str(tmp_path)], "1").passed is passed


def test_no_tests_are_a_failure(tmp_path: Path) -> None:
    assert matrix.run(matrix.Row("plain"), [str(tmp_path / "nothing.py")], "1").passed is False


def test_a_row_that_cannot_run_says_why() -> None:
    result = matrix.run(matrix.Row("elsewhere", {}, _absent), [], "1")
    assert list(matrix.table([result]))[-1] == "| - | elsewhere | not run: no such machine | 0 |"


def test_the_paths_are_there() -> None:
    for path in matrix.PATHS:
        assert (matrix.ROOT / path.removeprefix("--ignore=")).exists()


def test_nothing_that_ran_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = matrix.Result("elsewhere", None, "not run: no such machine", 0)
    sound, broken = (matrix.Result("here", passed, "1", 0) for passed in (True, False))
    assert matrix.verdict([elsewhere]) == matrix.verdict([sound, broken]) == matrix.verdict([]) == 1
    assert matrix.verdict([sound, elsewhere]) == 0


@pytest.mark.parametrize(
    "words", [["--rows", "nosuch"], ["--python", "x"], ["--python", "x=/no/python"]]
)
def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["matrix.py", *words])
    with pytest.raises(SystemExit, match="no such"):
        matrix.main()
