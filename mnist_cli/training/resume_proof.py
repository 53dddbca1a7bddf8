"""Proves on this machine that resuming loses no bit.

One run is trained to its end. The same run is stopped after a batch drawn at random. A separate
process, which shares no memory with the first, resumes it from its file. Then hashes are
compared.
"""

from __future__ import annotations

import dataclasses
import random
import signal
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cli.base import process
from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.digest import digests
from mnist_cli.config.names import ModelName
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import Interrupted, MnistError, ResumeMismatch, UsageError
from mnist_cli.training.run import RunRequest, begin
from mnist_cli.training.session import Session
from mnist_cli.training.starting import located

EPOCHS, BATCHES = 2, 8


@dataclass(frozen=True)
class ResumeProof:
    """Two runs that must be equal: SHA-256 of each part, uninterrupted and resumed."""

    stopped_after: int
    steps: int
    whole: Mapping[str, str]
    resumed: Mapping[str, str]
    environment: Mapping[str, Any]

    @property
    def differing(self) -> list[str]:
        """Parts whose bits differ."""
        return [part for part, value in self.whole.items() if self.resumed[part] != value]

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {"equal": not self.differing, **vars(self)}


def shorten(config: TrainConfig, keep: Collection[str]) -> TrainConfig:
    """Two epochs of eight batches, except for the keys to ``keep``; it never stops early."""
    short: dict[str, Any] = {"target_accuracy": 0.0, "early_stopping": 0, "max_time": 0.0}
    if "epochs" not in keep:
        short["epochs"] = min(config.epochs, EPOCHS)
    if "train_size" not in keep:
        size = BATCHES * config.images_per_step
        short["train_size"] = min(config.train_size or size, size)
    return config.model_copy(update=short)


def prove(config: TrainConfig, request: RunRequest) -> ResumeProof:
    """Train ``config`` whole, then stopped and resumed, in temporary folders.

    Raises:
        ResumeMismatch: the two results differ.
        MnistError: the resumed run failed.
    """
    with tempfile.TemporaryDirectory(prefix="mnist-verify-resume-") as folder:
        config = located(config, request.runs)
        request = dataclasses.replace(request, runs=Path(folder))
        with begin(config, request) as whole:
            steps = config.epochs * whole.loader.batches
            steps = min(steps, config.max_steps or steps)
            if steps == 1:
                raise UsageError(
                    "the run has a single step, so nothing would be left to resume",
                    "Train more epochs or images, or smaller batches.",
                )
            _train_until(whole, steps + 1)
        chosen = random.SystemRandom().randint(1, steps - 1)  # at least one step is left
        with begin(config, request) as stopped:
            _train_until(stopped, chosen)
        model = whole.config.model
        _resume(stopped.run.path, request.data_dir, model)
        one, other = (checkpoints.read(of.run.last, model) for of in (whole, stopped))
    hashes = digests(one.document), digests(other.document)
    proof = ResumeProof(chosen, steps, *hashes, one.environment)
    if proof.differing:
        raise _mismatch(proof)
    return proof


def _train_until(session: Session, step: int) -> None:
    """Train to the end, or until ``step`` steps are done: then stop as Ctrl-C stops a run."""
    stop = StopRequest()
    try:
        for _ in session.events(stop):
            if session.state.step == step:
                stop.signal = signal.SIGINT
    except Interrupted:
        assert session.state.step == step


def _resume(run: Path, data_dir: Path, model: ModelName) -> None:
    command = ["train", "--resume", str(run), "--quiet", "--data-dir", str(data_dir)]
    if model.is_own:
        command += ["--model", model]
    done = process.run(*command)
    if done.returncode:
        output = done.stderr.strip() or "no message"
        raise MnistError(f"the resumed run ended with exit code {done.returncode}: {output}")


def _mismatch(proof: ResumeProof) -> ResumeMismatch:
    hashes = "; ".join(
        f"{part} {proof.whole[part][:16]}, resumed {proof.resumed[part][:16]}"
        for part in proof.differing
    )
    on_cuda = proof.environment["device"] == "cuda" and not proof.environment["deterministic"]
    return ResumeMismatch(
        f"the run that was stopped after batch {proof.stopped_after} of {proof.steps} and resumed "
        f"differs from the uninterrupted run: {hashes}",
        "On CUDA, equal bits are guaranteed only with deterministic = true and cuda_graph = false."
        if on_cuda
        else "Please report it, with the output of `mnist doctor`.",
    )
