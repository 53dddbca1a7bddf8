"""``mnist doctor``: what it says of this machine must be so."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import pytest
import torch
from program import Run

from mnist_cli import __version__


def test_the_facts_are_this_machines(run: Run) -> None:
    document = run("doctor", "--json").document
    versions = document["versions"]
    assert versions["mnist_cli"] == __version__
    assert versions["Python"] == platform.python_version()
    assert versions["typer"] == importlib.metadata.version("typer")
    assert document["devices"]["cpu"] == "yes"
    assert document["devices"]["cuda"].startswith("yes" if torch.cuda.is_available() else "no: ")
    assert len(document["gpus"]) == torch.cuda.device_count()


def test_people_read_the_same(run: Run) -> None:
    document, text = run("doctor", "--json").document, run("doctor").out
    for facts in (document["versions"], document["devices"], document["chosen"]):
        for name, value in facts.items():
            line = next(line for line in text.splitlines() if line.split("  ")[1:2] == [name])
            assert line.endswith(str(value))


def test_it_changes_nothing(run: Run, tmp_path: Path) -> None:
    assert run("doctor").code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_there(run: Run) -> None:
    assert run("doctor", "--device", "cpu").code == 0


def test_a_device_that_makes_no_sense(run: Run) -> None:
    assert run("doctor", "--device", "abacus").code == 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_is_named(run: Run) -> None:
    gpu = run("doctor", "--device", "cuda", "--json").document["gpus"][0]
    assert gpu["name"] == torch.cuda.get_device_name(0)
