"""Claims about whole commands, each run as a process of its own, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mnist_cli.base.process import run
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig, compose
from mnist_cli.config.sources import Layer
from mnist_cli.data.split import cut_validation
from mnist_cli.devices.device import resolve_precision
from mnist_cli.errors import NumericsError
from mnist_cli.proving import rounding
from mnist_cli.proving.claims import Row, Subject
from mnist_cli.proving.preset_gradients import BITS, loss_of
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.state import fresh_model

LIMIT = 300
"""Seconds after which a command counts as hung."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code and the JSON document that it printed."""

    code: int
    document: Any


def run_json(
    *words: object,
    folder: Path,
    module: str = "mnist_cli",
    expected: Sequence[int] = (0,),
) -> Ended:
    """Run this program, or a module of it, in a process that prints one JSON document.

    Its temporary files go to ``folder``, so that nothing stays if it is killed.

    Raises:
        NumericsError: it hangs, prints no JSON document, or ends with a code not in ``expected``.
    """
    name = f"mnist {words[0]}" if module == "mnist_cli" else module
    try:
        done = run(*map(str, words), module=module, timeout=LIMIT, temporary=folder)
    except subprocess.TimeoutExpired:
        raise NumericsError(
            f"{name} hangs, or is too slow: it did not end within {LIMIT} s"
        ) from None
    last = (done.stderr.strip().splitlines() or [""])[-1]
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise NumericsError(f"{name} ended with exit code {done.returncode}: {last}") from None
    if done.returncode not in expected:
        message = document.get("error", {}).get("message", last)
        raise NumericsError(f"{name} ended with exit code {done.returncode}: {message}")
    return Ended(done.returncode, document)


def _where(subject: Subject, device: str = "") -> list[str]:
    """The options that name device and data."""
    data = ["--dataset", subject.dataset, "--data-dir", str(subject.data_dir)]
    return ["--device", device or subject.device_name, *data, "--json"]


def check_replay(subject: Subject) -> Iterator[Row]:
    """A row for each precision: ``mnist inspect-grad --replay`` finds every bit equal."""
    chosen = resolve_precision("auto", subject.device).name
    for precision in dict.fromkeys(["fp32", chosen]):
        out = subject.folder / f"replay-{precision}"
        ended = run_json(
            *("inspect-grad", "--model", "conv4", "--replay", "--precision", precision),
            *("--format", "json", "--out", out),
            *_where(subject),
            folder=subject.folder,
            expected=(0, 6),
        )
        claim = f"replay of inspect-grad in {precision}"
        if ended.code:
            yield Row(claim, False, ended.document["error"]["message"])
            continue
        replay = ended.document["replay"]
        yield Row(
            claim,
            passed=bool(replay["exact"]),
            figure=f"{replay['calls']} calls, every bit equal",
            values={"calls": replay["calls"]},
        )


def check_resume(subject: Subject) -> Iterator[Row]:
    """One row: a run stopped after a random batch and resumed ends with the same bits."""
    repeatable = ["--deterministic", "--no-cuda-graph"] if subject.device.type == "cuda" else []
    words = ["train", "--verify-resume", "--set", f"train_size={8 * 128}", *repeatable]
    ended = run_json(*words, *_where(subject), folder=subject.folder, expected=(0, 6))
    if ended.code:
        yield Row("interrupted and resumed", False, ended.document["error"]["message"])
        return
    stopped, steps = ended.document["stopped_after"], ended.document["steps"]
    yield Row(
        "interrupted and resumed",
        passed=bool(ended.document["equal"]),
        figure=f"stopped after batch {stopped} of {steps}, every bit equal",
        values={"stopped_after": stopped, "steps": steps},
    )


ONE_STEP: Mapping[str, Any] = {
    "model": "conv4",
    "epochs": 1,
    "batch_size": 64,
    "train_size": 64,
    "val_size": 0,
    "optimizer": "sgd",
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "schedule": "constant",
    "lr": 1.0,
    "precision": "fp32",
    "shift": 0.0,
    "rotate": 0.0,
    "scale": 0.0,
    "shear": 0.0,
}
"""One step of plain gradient descent at rate 1: it moves the weights by the gradient itself."""


def check_two_processes(subject: Subject) -> Iterator[Row]:
    """One row: two processes take the step that one process takes.

    On cuda:0 and cuda:1 through NCCL where there are two GPUs, else on the CPU through gloo.
    """
    gpus = torch.cuda.device_count() if subject.device.type == "cuda" else 0
    device, backend = ("cuda", "NCCL") if gpus > 1 else ("cpu", "gloo on the CPU")
    config = compose([Layer(ONE_STEP, {})])
    exact, limit = _expected_step(config, subject)
    errors = {
        ranks: rounding.distance(_step(config, subject, device, ranks), exact) for ranks in (1, 2)
    }
    yield Row(
        f"two processes against one, {backend}",
        passed=max(errors.values()) <= limit,
        figure=f"gradient's error {errors[2]:.1e}, of one process {errors[1]:.1e}, "
        f"at most {limit:.1e}",
        values={"relative_error": errors[2], "of_one_process": errors[1], "limit": limit},
    )


def _step(config: TrainConfig, subject: Subject, device: str, ranks: int) -> rounding.Gradients:
    """What ``ranks`` processes subtract from the weights in their one step."""
    runs = subject.folder / f"ranks-{ranks}"
    settings = [word for key, value in ONE_STEP.items() for word in ("--set", f"{key}={value}")]
    ended = run_json(
        *("train", "--nproc", ranks, "--runs", runs, "--deterministic"),
        *settings,
        *_where(subject, device),
        folder=subject.folder,
    )
    last = RunDirectory(Path(ended.document["run"])).last
    after = checkpoints.read(last).build_model()
    before = fresh_model(config, len(subject.data.spec.classes))
    return {
        name: parameter.detach().double() - after.get_parameter(name).detach().double()
        for name, parameter in before.named_parameters()
    }


def _expected_step(config: TrainConfig, subject: Subject) -> tuple[rounding.Gradients, float]:
    """The gradient in float64, and how far an emulation with few bits is from it."""
    data = subject.data
    batch = cut_validation(data.train, val_size=0, train_size=config.train_size, seed=config.seed)
    images = data.normalisation(batch.train.images.float())
    model = fresh_model(config, len(data.spec.classes)).train()
    loss = loss_of(model, config, batch.train.labels)
    exact = rounding.reference(model, images, loss)
    return exact, rounding.worst(model, images, loss, BITS["fp32"])
