"""``mnist doctor --prove``: rows, verdict, exit code and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from program import Run

from mnist_cli.commands import doctor_prove
from mnist_cli.proving.claims import Claims, Outcome

GOOD = {
    "products": lambda: Outcome(True, "error 1 | at most 2", {"error": 1.0}),
    "graphs": lambda: Outcome(None, "no CUDA here"),
}
BAD = {"replay": lambda: Outcome(False, "conv1.weight differs")}


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch) -> Callable[[Claims], None]:
    """Replaces the claims that are checked."""
    return lambda claims: monkeypatch.setattr(doctor_prove, "all_claims", lambda _subject: claims)


def test_all_claims_hold_on_this_machine(run: Run, tmp_path: Path) -> None:
    ended = run("doctor", "--prove", "--json", "--device", "cpu")
    document = ended.document
    assert [row for row in document["rows"] if row["passed"] is False] == []
    assert ended.code == 0
    assert document["proven"]
    assert document["dataset"] == "digits"
    assert document["seconds"] >= sum(row["seconds"] for row in document["rows"])
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_fails_is_exit_code_6(run: Run, claim: Callable[[Claims], None]) -> None:
    claim(GOOD | BAD)
    ended = run("doctor", "--prove", "--out", "table.md")
    assert ended.code == 6
    assert "products: error 1 | at most 2" in ended.out
    assert "1 of 2 claims fail: replay" in ended.out
    table = Path("table.md").read_text(encoding="utf-8").splitlines()
    assert "| ✓ | products | error 1 \\| at most 2 | 0.0 |" in table
    assert "| ✗ | replay | conv1.weight differs | 0.0 |" in table
    document = run("doctor", "--prove", "--json").document
    assert not document["proven"]
    assert [row["passed"] for row in document["rows"]] == [True, None, False]


@pytest.mark.parametrize("name", [".", "folder"])
def test_a_folder_for_the_table_is_refused_before_the_first_row(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(doctor_prove, "all_claims", None)  # nothing may be checked
    Path("folder").mkdir()
    ended = run("doctor", "--prove", "--out", name)
    assert ended.code == 5
    assert "it is a folder, not a file" in ended.err


def test_incomplete_data_are_named(run: Run, claim: Callable[[Claims], None]) -> None:
    claim(GOOD)
    Path("data").mkdir()
    Path("data/t10k-labels-idx1-ubyte").write_bytes(b"")
    ended = run("doctor", "--prove")
    assert ended.code == 0
    assert "all 1 claims hold" in ended.out
    assert "warning: using the bundled digits: MNIST is not complete under data" in ended.err
    assert "train-images-idx3-ubyte" in ended.err
