"""``--logger`` of ``mnist train`` and ``mnist sweep``: which runs are logged, as which, and hints."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from program import TINY, Run

from mnist_cli.base import packages
from mnist_cli.commands import sweep
from mnist_cli.config.choices import LOGGERS
from mnist_cli.options import logging_options
from mnist_cli.training import loggers
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.run import RunRequest

SMALL = [*TINY, "--quiet"]


class Heard(Callback):
    """Takes the place of a logger."""

    runs: list[ObservedRun]
    act: Any = None

    def __init__(self, name: str) -> None:
        self.name = name

    def on_start(self, run: ObservedRun) -> None:
        self.runs.append(run)

    def on_step(self, run: ObservedRun, progress: Progress) -> None:
        act, Heard.act = Heard.act, None
        if act is not None:
            act()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> type[Heard]:
    """Loggers that keep the runs they begin; every package seems to be installed."""
    monkeypatch.setattr(Heard, "runs", [], raising=False)
    monkeypatch.setattr(Heard, "act", None)
    monkeypatch.setattr(packages, "require", lambda *_: None)
    monkeypatch.setattr(loggers, "logger", Heard)
    return Heard


@pytest.mark.parametrize(
    ("typed", "built"),
    [
        (["wandb"], ["wandb"]),
        (["wandb", "MLflow", "wandb"], ["wandb", "mlflow"]),
        (["tensorboard"], ["tensorboard"]),
        (["mlflow, wandb", "MLflow"], ["mlflow", "wandb"]),
        (None, []),
    ],
)
def test_each_logger_once(heard: type[Heard], typed: list[str] | None, built: list[str]) -> None:
    assert list(logging_options.chosen(typed)) == built
    with_tensorboard = logging_options.chosen(typed, tensorboard=True)
    assert sorted(with_tensorboard) == sorted({*built, "tensorboard"})


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_named_before_anything_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    outcome = run(*SMALL, "--logger", name)
    assert outcome.code == 2
    assert f"--logger {name} needs the package {name}" in outcome.err
    assert f"pip install {name}" in outcome.err
    assert not Path("runs").exists()


def test_a_dry_run_is_not_logged_and_says_so(run: Run, heard: type[Heard]) -> None:
    outcome = run(*TINY, "--dry-run", "--logger", "wandb", "--logger", "mlflow")
    assert outcome.code == 0
    assert "nothing was logged with wandb and mlflow" in outcome.err
    assert heard.runs == []


@pytest.mark.parametrize(
    ("command", "group"),
    [
        (["sweep", *SMALL[1:], "--set", "lr=0.01,0.02", "--name", "rates"], "rates"),
        ([*SMALL, "--seeds", "2"], "sweep-1"),
    ],
)
def test_each_run_of_a_sweep_is_logged_in_its_group(
    run: Run,
    heard: type[Heard],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    group: str,
) -> None:
    requests: list[RunRequest] = []
    monkeypatch.setattr(sweep, "_train", lambda _, make, say: requests.extend([make(), make()]))
    monkeypatch.setattr(sweep, "_report", lambda *_, **__: None)
    run(*command, "--logger", "wandb")
    assert [one.group for one in requests] == [group, group]
    first, second = (one.callbacks for one in requests)
    assert isinstance(first[0], Heard)
    assert first[0] is not second[0], "each run has a logger of its own"


def test_the_hint_of_an_interrupted_run_continues_its_log(run: Run, heard: type[Heard]) -> None:
    heard.act = lambda: signal.raise_signal(signal.SIGINT)
    outcome = run(*SMALL, "--logger", "mlflow", "--tensorboard")
    assert outcome.code == 130
    resume = outcome.err.partition("Resume with: ")[2].strip()
    assert resume.endswith("0001-digits-conv2 --logger mlflow --logger tensorboard")
    assert run(*resume.split()[1:]).code == 0
    assert [one.step > 0 for one in heard.runs] == [False, False, True, True]


def test_both_spellings_write_the_same_events(run: Run) -> None:
    pytest.importorskip("tensorboard")
    assert run(*SMALL, "--logger", "tensorboard", "--tensorboard").code == 0
    assert len(list(Path("runs/0001-digits-conv2/tensorboard").iterdir())) == 1
