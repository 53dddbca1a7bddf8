"""``mnist train``: what it warns of, what it draws, and where it stops."""

from __future__ import annotations

from pathlib import Path

from bits import rows
from program import TINY, Run

CUT = """\
import torch
class Cut(torch.nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.a, self.b = torch.nn.Linear(784, 16), torch.nn.Linear(16, classes)
    def forward(self, x):
        return self.b(torch.relu(self.a(x.flatten(1))).detach())
"""


def test_a_run_warns_of_what_it_shows(run: Run) -> None:
    Path("cut.py").write_text(CUT)
    outcome = run(*TINY, "--model", "cut.py:Cut", "-b", 500, "-e", 1, "-q", "--runs", "a b")
    assert outcome.code == 0
    assert "warning: batch_size = 500 is more than the 192 training images" in outcome.err
    assert "warning: a.weight, a.bias get no gradient" in outcome.err
    command = f"mnist inspect-grad 'a b/0001-digits-Cut' --model {Path('cut.py').absolute()}:Cut"
    assert f"epoch 1): `{command}` shows where it stops" in outcome.err


def test_the_command_draws_and_keeps_no_run(run: Run) -> None:
    outcome = run(*TINY, "--find-lr", "--json")
    assert outcome.code == 0
    assert outcome.document["proposal"] > 0
    assert [path.name for path in Path("runs").iterdir()] == ["find-lr.png"]
    refused = run(*TINY, "--find-lr", "--lr", 1)
    assert refused.code == 2
    assert "--find-lr and --lr" in refused.err


def test_a_run_that_a_limit_stopped_is_a_run(run: Run) -> None:
    outcome = run(*TINY, "--max-steps", 4)
    assert outcome.code == 0
    assert "stopped early: 4 steps are done" in outcome.out
    assert "trained 1 epoch and 1 step in" in outcome.out
    assert len(rows(Path("runs/0001-digits-conv2"))) == 2
    again = run("train", "--resume", 1).err
    assert "runs/0001-digits-conv2 has stopped early; only the test set is read again" in again
    Path("copy.pt").write_bytes(Path("runs/0001-digits-conv2/last.pt").read_bytes())
    copied = run("train", "--resume", "copy.pt", "--runs", "copies").err
    missing = "best.pt, the best checkpoint so far, is missing"
    assert (missing in copied, missing in again) == (True, False)
    line = "mnist train --resume runs/0001-digits-conv2 --max-steps 0"
    assert f"continue it with: {line}" in again
    unnamed = run("train", "--resume")
    assert unnamed.code == 4
    assert "runs/0001-digits-conv2, has stopped early: 4 steps are done" in unnamed.err
    assert unnamed.err.rstrip().endswith(line)
    assert run(*line.split()[1:], "--quiet").code == 0
    assert "has stopped early" not in run("train", "--resume").err


def test_a_single_point_is_not_drawn(run: Run) -> None:
    outcome = run(*TINY, "--epochs", 1, "--log-every", 9, "--batch-size", 192)
    assert outcome.code == 0
    assert "curves.png: training" in outcome.err
    outcome = run(*TINY, "--max-steps", 1, "--log-every", 3)
    assert "curves.png is not drawn" in outcome.err
    assert not Path("runs/0002-digits-conv2/curves.png").exists()


def test_the_loss_without_smoothing_stands_beside(run: Run) -> None:
    smoothed = run(*TINY, "--epochs", 1, "--set", "label_smoothing=0.2")
    assert "without smoothing" in smoothed.out
    assert "label smoothing of 0.2" in smoothed.err
    assert "smoothing" not in run(*TINY, "--epochs", 1, "--set", "label_smoothing=0").out
