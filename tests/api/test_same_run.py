"""``mnist.train`` makes the run directory that the command makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import TINY as WORDS
from recipe import bits, train

import mnist_cli as mnist
from mnist_cli import Run, cli


def test_the_run_is_that_of_the_command(run: Run, tmp_path: Path) -> None:
    assert cli.run([*WORDS, "--quiet"]) == 0
    by_command = mnist.open_run(1)
    assert bits(run) == bits(by_command)
    names = [{path.name for path in one.path.iterdir()} for one in (run, by_command)]
    assert names[0] == names[1]
    assert run.path.name == by_command.path.name
    assert run.config == by_command.config
    assert run.record.recipe == by_command.record.recipe == "smoke"
    assert run.test == by_command.test


def test_what_matplotlib_draws_with_stays(run: Run) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"font.size": 23.0}):
        train(epochs=1)
        assert matplotlib.rcParams["font.size"] == 23
