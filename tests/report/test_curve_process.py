"""The process that draws learning curves; drawing in this process is the reference."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from mnist_cli.report import curve_process, themes
from mnist_cli.report.curve_process import CurveProcess
from mnist_cli.report.figures import save_learning_curves
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import EpochResult, StepRow, metric_rows

EPOCHS = [EpochResult(n, 10 * n, 0.5 / n, 0.9, None, 0.1, 1.0, 100.0, 1.0) for n in (1, 2)]
STEPS = [StepRow(1, n, n / 10, 3.0 / n, 2.0 / n, 0.5, 1.0, 0.1) for n in range(1, 11)]
RATES = [(0.0, 0.1), (2.0, 0.01)]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    rows = [json.dumps(row) + "\n" for row in metric_rows(STEPS, EPOCHS)]
    directory.metrics.write_text("".join(rows))
    return directory


def drawn(process: CurveProcess, run: Path) -> bool:
    process.ask(run, rates=RATES, title="a run", augmented=True)
    return process.has_drawn()


def test_it_draws_what_this_process_would_draw(run: RunDirectory, tmp_path: Path) -> None:
    here = tmp_path / "here.png"
    with themes.figures(dark=True):
        save_learning_curves(EPOCHS, here, rates=RATES, title="a run", steps=STEPS, augmented=True)
        assert drawn(CurveProcess(), run.path)
    assert Image.open(run.curves).tobytes() == Image.open(here).tobytes()


def test_it_says_that_it_could_not_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not drawn(CurveProcess(), tmp_path / "no run")
    assert not CurveProcess().has_drawn()  # it was not asked
    ended = CurveProcess()
    ended._process.kill()
    ended._process.wait()
    assert not drawn(ended, tmp_path)
    monkeypatch.setattr(curve_process, "PATIENCE", 0.1)
    endless = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(curve_process, "again", lambda **_: endless)
    assert not drawn(CurveProcess(), tmp_path)


def test_it_ends_when_its_parent_has_nothing_to_draw() -> None:
    process = CurveProcess()
    assert process._process.stdin is not None
    process._process.stdin.close()
    assert process._process.wait() == 0


def test_it_ends_with_the_run_that_no_longer_needs_it() -> None:
    process = CurveProcess()
    started = process._process
    del process
    assert started.returncode is not None
    assert started.stdin is not None
    assert started.stdin.closed


def test_it_is_not_started_where_it_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert curve_process.begin() is None  # this process has imported matplotlib
    monkeypatch.setattr(curve_process.sys, "modules", {})
    monkeypatch.setattr(curve_process, "usable_cores", lambda: 1)
    assert curve_process.begin() is None
