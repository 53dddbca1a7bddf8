"""Every call runs in an empty folder, with no data named; one run is trained for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe import TINY

import mnist_cli as mnist
from mnist_cli import Run, cli


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run, trained once for all tests: they only read it."""
    runs = tmp_path_factory.mktemp("called")
    return mnist.train("smoke", **TINY, runs=runs, progress=False)


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two networks that vote."""
    runs = tmp_path_factory.mktemp("called")
    return mnist.train("smoke", **TINY, ensemble=2, epochs=1, runs=runs, progress=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command prints with ``--json``."""
    import json

    def call(*words: object) -> Any:
        capsys.readouterr()
        assert cli.run([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call
