"""``mnist train --verify-resume``: what it proves, and that it would notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from program import TINY, Run
from systems import needs_posix

from mnist_cli.base import process
from mnist_cli.config.schema import TrainConfig
from mnist_cli.training import resume_proof

SHORT = [*TINY, "--verify-resume", "--epochs", 1]


def test_the_proof_on_this_machine_leaves_nothing(run: Run) -> None:
    outcome = run(*SHORT, "--json")
    assert outcome.code == 0
    document = outcome.document
    assert document["equal"] is True
    assert 1 <= document["stopped_after"] <= document["steps"] == 3
    assert document["whole"] == document["resumed"]
    assert set(document["whole"]) == {"weights", "optimiser", "generators", "metrics"}
    assert len(set(document["whole"].values())) == 4
    assert document["environment"]["torch"] == torch.__version__
    assert list(Path().iterdir()) == []


@pytest.mark.cuda
@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="no GPU")
def test_the_proof_on_a_gpu(run: Run) -> None:
    outcome = run(
        *SHORT, "--json", "--device", "cuda", "--deterministic", "--set", "cuda_graph=false"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.document["environment"]["device"] == "cuda"


def test_a_resumed_run_that_differs_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resumed run loses one bit of one weight."""

    def spoil(path: Path, _data_dir: Path, _model: str) -> None:
        for step in path.glob("last.pt"):
            document: Any = torch.load(step, weights_only=True)
            document["model"]["weights"]["fc2.bias"].view(torch.int32)[0] ^= 1
            torch.save(document, step)

    monkeypatch.setattr(resume_proof, "_resume", spoil)
    monkeypatch.setattr(resume_proof.random.SystemRandom, "randint", lambda *_: 3)
    outcome = run(*SHORT)
    assert outcome.code == 6
    assert "stopped after batch 3 of 3" in outcome.err
    assert "weights" in outcome.err
    assert "optimiser" not in outcome.err
    assert run(*SHORT, "--json").document["error"]["kind"] == "resume"


@needs_posix
def test_a_resumed_run_that_fails_says_what_it_said(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(process.sys, "executable", "/bin/false")
    outcome = run(*SHORT)
    assert outcome.code == 1
    assert "the resumed run ended with exit code 1" in outcome.err


def test_it_is_short_by_default() -> None:
    config = TrainConfig(epochs=9, batch_size=100, target_accuracy=0.9)
    short = resume_proof.shorten(config, frozenset())
    assert (short.epochs, short.train_size, short.target_accuracy) == (2, 800, 0)
    kept = resume_proof.shorten(config, frozenset({"epochs", "train_size"}))
    assert (kept.epochs, kept.train_size) == (9, 0)
    assert resume_proof.shorten(TrainConfig(train_size=5), frozenset()).train_size == 5


def test_it_never_stops_after_the_last_batch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[int, int]] = []

    def last(_: object, low: int, high: int) -> int:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(resume_proof.random.SystemRandom, "randint", last)
    monkeypatch.setattr(resume_proof, "_resume", lambda *_: None)
    assert run(*SHORT, "--max-steps", 2).code == 6  # nobody resumed it
    assert bounds == [(1, 1)]


def test_a_run_of_one_step_proves_nothing(run: Run) -> None:
    refused = run(*SHORT, "--max-steps", 1)
    assert refused.code == 2
    assert "a single step" in refused.err
