"""On a terminal, a last line names the page that explains the output; nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import TINY, Run

DEAD = """
import torch.nn as nn
class Dead(nn.Sequential):
    def __init__(self, classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, classes))
        nn.init.constant_(self[1].bias, -1e3)
"""

LINES = [
    (["model", "notebook"], "2-model.md"),
    (["eval", "RUN"], "4-train.md#evaluate"),
    (["plot", "RUN", "--only", "filters", "--format", "png"], "5-visualise.md"),
    (["inspect-grad", "RUN", "--batch-size", "8", "--format", "text"], "3-backprop.md"),
    (["inspect-grad", "--model", "dead.py:Dead", "--dataset", "digits", "--format", "text"], "6-"),
    ([*TINY, "--runs", "new"], "4-train.md#a-run"),
    (["train", "--config", "smoke", "--find-lr", "--runs", "new"], "6-when-it-goes-wrong.md"),
]


@pytest.mark.parametrize(("words", "page"), LINES, ids=lambda value: str(value[0]))
def test_the_last_line_names_the_page(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], page: str
) -> None:
    Path("dead.py").write_text(DEAD)
    words = [str(trained) if word == "RUN" else word for word in words]
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shown = run(*words)
    assert shown.code == 0
    last = shown.err.rstrip().splitlines()[-1]
    assert "explained in " in last
    assert f"docs/learn/{page}" in last


@pytest.mark.parametrize(
    ("terminal", "more"), [("0", []), ("1", ["--quiet"]), ("1", ["--json"])], ids=str
)
def test_no_pipe_no_quiet_and_no_json_has_it(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, terminal: str, more: list[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    for words in (["model", "notebook"], ["eval", trained], ["inspect-grad", trained]):
        shown = run(*words, *more)
        assert shown.code == 0
        assert "explained in" not in shown.out + shown.err
