"""A checkpoint of every released format, which every later program reads, uses and goes on from.

``formats/version-N.pt`` was written by the program that first wrote version N and is never written
again; ``version-N.json`` holds what plain torch computed of it then. A new version adds a pair.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli import catalogue, cli
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.data import bundled

FORMATS = Path(__file__).with_name("formats")
VERSIONS = sorted(int(path.stem.removeprefix("version-")) for path in FORMATS.glob("*.pt"))


def recorded(version: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FORMATS / f"version-{version}.json").read_text())
    return record


def test_every_version_has_a_file() -> None:
    assert list(range(1, checkpoints.VERSION + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_it_predicts_what_it_predicted_then(version: int) -> None:
    checkpoint = checkpoints.read(FORMATS / f"version-{version}.pt")
    assert checkpoint.document["version"] == version
    expected = torch.tensor(recorded(version)["log_probabilities"])
    spec = catalogue.get("digits")
    digits = torch.as_tensor(bundled.read("test").images[: len(expected)])
    images = (digits.reshape(-1, 1, 28, 28).float() / 255 - spec.mean) / spec.std
    with torch.no_grad():
        computed = checkpoint.build_model()(images)
    assert torch.allclose(computed, expected, atol=1e-3)


@pytest.mark.parametrize("version", VERSIONS)
def test_its_run_goes_on(version: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "then.pt"
    shutil.copy(FORMATS / f"version-{version}.pt", path)
    epochs = len(checkpoints.read(path).history)
    command = ["train", "--resume", str(path), "--epochs", str(epochs + 1), "--quiet"]
    assert cli.run([*command, "--runs", str(tmp_path / "runs")]) == 0, capsys.readouterr().err
    (last,) = (tmp_path / "runs").glob("*/last.pt")
    assert len(checkpoints.read(last).history) == epochs + 1
