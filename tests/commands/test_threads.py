"""More threads than cores: obeyed, and warned of once, wherever they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from program import TINY, Run

from mnist_cli.base import cores
from mnist_cli.errors import Caution
from mnist_cli.training import halving

WHOLE = ("--set", "threads=0", "--set", "halves=false")
WARNING = "warning: 3 threads on 1 core can be many times slower"


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, halving):
        monkeypatch.setattr(module, "usable_cores", lambda: 1)


def test_train_warns_once_and_obeys(run: Run, tmp_path: Path) -> None:
    outcome = run(*TINY, "--set", "threads=3", "--set", "halves=false", "--json")
    assert outcome.code == 0
    assert outcome.err.count(WARNING) == 1
    assert "use 1 or fewer" in outcome.err
    checkpoint = torch.load(next((tmp_path / "runs").rglob("last.pt")), weights_only=True)
    assert checkpoint["environment"]["threads"] == 3


def test_torchs_own_choice_counts_on_the_cpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda _threads: None)  # else 3 is put back
    outcome = run("train", "--config", "smoke", *WHOLE, "--dry-run")
    assert outcome.err.count(WARNING) == 1


def test_a_resumed_run_warns(run: Run, trained: Path) -> None:
    outcome = run("train", "--resume", trained, "--threads", "4")
    assert outcome.code == 0
    assert outcome.err.count("warning: 4 threads on 1 core") == 1  # two for each half


def test_halves_in_turn_are_no_more_threads_than_cores(run: Run) -> None:
    """One core computes one half after the other, with one thread."""
    outcome = run(*TINY, "--set", "threads=3", "--json")
    assert (outcome.code, outcome.err.count("threads on 1 core")) == (0, 0)


@pytest.mark.parametrize(
    "more", [["smoke:1", "example:1"], ["smoke:1", "--inference"], ["smoke", "--scaling"]]
)
def test_bench_warns_once(run: Run, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    def stop(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnist_cli.benchmark.worker_process.run", stop)
    outcome = run("bench", *more, "--threads", "3")
    assert (outcome.code, outcome.err.count(WARNING)) == (130, 1)


def test_a_caution_is_shown_as_the_programs_own_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mnist_cli.cli import running

    running._show_warning(Caution("the GPU is not used"), Caution, "device.py", 7)
    assert capsys.readouterr().err == "warning: the GPU is not used\n"
    running._show_warning(UserWarning("anything else"), UserWarning, "net.py", 7)
    assert "net.py:7: UserWarning: anything else" in capsys.readouterr().err
