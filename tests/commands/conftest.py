"""Every command runs in an empty folder, with no data named; one run is trained for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import TINY, Outcome, Run

from mnist_cli import cli


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MNIST_DATA_DIR", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, trained once for all tests: they add at most ``grad`` and ``plots`` to it."""
    runs = tmp_path_factory.mktemp("trained")
    assert cli.run([*TINY, "--quiet", "--runs", str(runs)]) == 0
    return runs / "0001-digits-conv2"
