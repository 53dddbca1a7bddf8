"""Claims about whole commands, each run in a separate process, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import partial
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
from mnist_cli.proving.claims import Claims, Outcome, Subject
from mnist_cli.proving.preset_gradients import BITS, loss_of
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.state import fresh_model

LIMIT = 300
"""Seconds after which a command counts as hung."""


def claims(subject: Subject) -> Claims:
    """Claims about replaying, resuming, and training with two processes."""
    chosen = resolve_precision("auto", subject.device).name
    replays = {
        f"replay of inspect-grad in {precision}": partial(check_replay, subject, precision)
        for precision in dict.fromkeys(["fp32", chosen])
    }
    return {
        **replays,
        "interrupted and resumed": partial(check_resume, subject),
        f"two processes against one, {_two_ranks(subject)[1]}": partial(
            check_two_processes, subject
        ),
    }


def run_json(*words: object, folder: Path, module: str = "mnist_cli") -> Any:
    """Run this program, or a module of it, in a process, and return the JSON document it prints.

    Its temporary files go to ``folder``, so that nothing remains if it is killed.

    Raises:
        NumericsError: it hangs, prints no JSON document, or ends with an exit code other than 0.
    """
    name = f"mnist {words[0]}" if module == "mnist_cli" else module
    try:
        done = run(*map(str, words), module=module, timeout=LIMIT, temporary=folder)
    except subprocess.TimeoutExpired:
        raise NumericsError(
            f"{name} hangs, or is too slow: it did not end within {LIMIT} s"
        ) from None
    failed = f"{name} ended with exit code {done.returncode}"
    last = (done.stderr.strip().splitlines() or [""])[-1]
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise NumericsError(f"{failed}: {last}") from None
    if done.returncode:
        raise NumericsError(f"{failed}: {document.get('error', {}).get('message', last)}")
    return document


def _mnist(subject: Subject, *words: object, device: str = "") -> Any:
    """The document that a command prints, on the subject's data and, by default, its device."""
    data = ("--dataset", subject.dataset, "--data-dir", subject.data_dir)
    where = ("--device", device or subject.device, *data, "--json")
    return run_json(*words, *where, folder=subject.folder)


def check_replay(subject: Subject, precision: str) -> Outcome:
    """``mnist inspect-grad --replay`` finds every bit equal."""
    replay = _mnist(
        subject,
        *("inspect-grad", "--model", "conv4", "--replay", "--precision", precision),
        *("--format", "json", "--out", subject.folder / f"replay-{precision}"),
    )["replay"]
    return Outcome(
        passed=bool(replay["exact"]),
        figure=f"{replay['calls']} calls, every bit equal",
        values={"calls": replay["calls"]},
    )


def check_resume(subject: Subject) -> Outcome:
    """A run that is stopped after a random batch and resumed ends with the same bits."""
    repeatable = ["--deterministic", "--no-cuda-graph"] if subject.device.type == "cuda" else []
    words = ["train", "--verify-resume", "--set", f"train_size={8 * 128}", *repeatable]
    found = _mnist(subject, *words)
    return Outcome(
        passed=bool(found["equal"]),
        figure=f"stopped after batch {found['stopped_after']} of {found['steps']}, every bit equal",
        values={key: found[key] for key in ("stopped_after", "steps")},
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
    "halves": False,  # as two processes, which share the statistics of batch norm
    "shift": 0.0,
    "rotate": 0.0,
    "scale": 0.0,
    "shear": 0.0,
}
"""One step of plain gradient descent at rate 1: it moves the weights by the gradient itself."""


def _two_ranks(subject: Subject) -> tuple[str, str]:
    """The device and the backend for two processes: NCCL on two GPUs, else gloo on the CPU."""
    gpus = torch.cuda.device_count() if subject.device.type == "cuda" else 0
    return ("cuda", "NCCL") if gpus > 1 else ("cpu", "gloo on the CPU")


def check_two_processes(subject: Subject) -> Outcome:
    """Two processes take the same step as one process."""
    config = compose([Layer(ONE_STEP, {})])
    exact, limit = _expected_step(config, subject)
    one, two = (rounding.distance(_step(config, subject, ranks), exact) for ranks in (1, 2))
    return Outcome(
        passed=max(one, two) <= limit,
        figure=f"gradient's error {two:.1e}, of one process {one:.1e}, at most {limit:.1e}",
        values={"relative_error": two, "of_one_process": one, "limit": limit},
    )


def _step(config: TrainConfig, subject: Subject, ranks: int) -> rounding.Gradients:
    """The change of each parameter in the one step of ``ranks`` processes, negated."""
    settings = [word for key, value in ONE_STEP.items() for word in ("--set", f"{key}={value}")]
    runs = ("--runs", subject.folder / f"ranks-{ranks}")
    device, _ = _two_ranks(subject)
    words = ("train", "--nproc", ranks, *runs, "--deterministic", *settings)
    last = RunDirectory(Path(_mnist(subject, *words, device=device)["run"])).last
    after = checkpoints.read(last).build_model()
    before = fresh_model(config, len(subject.data.spec.classes))
    return {
        name: parameter.detach().double() - after.get_parameter(name).detach().double()
        for name, parameter in before.named_parameters()
    }


def _expected_step(config: TrainConfig, subject: Subject) -> tuple[rounding.Gradients, float]:
    """The gradient in float64, and the largest error that is allowed."""
    data = subject.data
    batch = cut_validation(data.train, val_size=0, train_size=config.train_size, seed=config.seed)
    images = data.normalisation(batch.train.images.float())
    model = fresh_model(config, len(data.spec.classes)).train()
    loss = loss_of(model, config, batch.train.labels)
    exact = rounding.reference(model, images, loss)
    return exact, rounding.worst(model, images, loss, BITS["fp32"])
