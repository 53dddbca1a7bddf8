"""What the tests of the proofs share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnist_cli.commands.bench import WORKER
from mnist_cli.data.load import LoadedData, load
from mnist_cli.proving.claims import Subject


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> LoadedData:
    return load("digits", tmp_path_factory.mktemp("none"))


@pytest.fixture
def subject(digits: LoadedData, tmp_path: Path) -> Subject:
    return Subject(torch.device("cpu"), digits, tmp_path / "data", tmp_path, WORKER)
