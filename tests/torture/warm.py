"""Starts the program by forking a warm process, and looks at what is left of its run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from bits import SECONDS, differences
from forked import Forked
from program import TINY, Outcome, one_thread

from mnist_cli.checkpoints import checkpoint as checkpoints

HUNG = 999
"""The exit code of a process that did not end in time."""
RUN = [*TINY, "--checkpoint-every", "1"]
"""Nine steps, a checkpoint after each."""
WORKERS = ["--loader", "dataloader", "--workers", "2"]
"""The same with processes that load the images."""


class Warm:
    """Starts the program in forks of the warm process, with faults that happen to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def start(
        self,
        *arguments: object,
        folder: Path,
        faults: Sequence[list[Any]] = (),
        environment: Mapping[str, str | None] = MappingProxyType({}),
        stdin: str | None = os.devnull,
        stdout: str | None = "",
        stderr: str | None = "",
        user: int | None = None,
    ) -> Process:
        """Start a command in ``folder``; no learning curves are drawn.

        An empty name of a stream is a file, read when the command ends; None closes the stream.
        """
        folder.mkdir(parents=True, exist_ok=True)
        base = self._folder / f"{next(self._numbers)}"
        names = stdin, stdout, stderr
        paths = [
            base.with_suffix(f".{at}") if name == "" else name for at, name in enumerate(names)
        ]
        with contextlib.ExitStack() as stack:
            modes = zip(paths, ("r", "a", "a"), strict=True)
            ends = [path and stack.enter_context(Path(path).open(mode)) for path, mode in modes]
            process = Forked(
                *("faults:program", list(map(str, arguments)), [["draw_nothing"], *faults], user),
                closed=[at for at, path in enumerate(paths) if path is None],
                **dict(zip(("stdin", "stdout", "stderr"), ends, strict=True)),
                cwd=folder,
                env=surroundings(environment),
                start_new_session=True,
            )
        return Process(process, *(Path(path or os.devnull) for path in paths[1:]))

    def run(self, *arguments: object, **options: Any) -> Outcome:
        """Start a command and wait for it."""
        return self.start(*arguments, **options).wait()


def surroundings(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of a command: with no data named, and nothing said about the terminal."""
    unset = ("MNIST_DATA_DIR", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE")
    values = one_thread() | dict.fromkeys(unset) | dict(changes)
    return {name: value for name, value in values.items() if value is not None}


@dataclass
class Process:
    """A command under way, and the files that its output goes to."""

    popen: Forked
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.popen.send_signal(number)

    def wait(self, seconds: float = 120) -> Outcome:
        """Wait for its end; a process that never ends is killed, with those that it started."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.popen.wait()
            code = HUNG
        texts = [
            path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            for path in (self.out, self.err)
        ]
        return Outcome(code, *texts)


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: what it left, and how long it took."""

    folder: Path
    seconds: float


def train_whole(warm: Warm, folder: Path, *arguments: object) -> Whole:
    """Train :data:`RUN` undisturbed."""
    began = time.monotonic()
    done = warm.run(*RUN, *arguments, folder=folder)
    assert done.code == 0, done.err
    return Whole(folder, time.monotonic() - began)


def newest_run(folder: Path) -> Path | None:
    """The run with the highest number, once it can be resumed."""
    runs = sorted((folder / "runs").glob("[0-9]*")) if (folder / "runs").is_dir() else []
    return runs[-1] if runs and (runs[-1] / "last.pt").is_file() else None


def damage(folder: Path) -> str:
    """What is wrong with what a run has left at any moment of its life; "" if nothing is."""
    run = newest_run(folder)
    if run is None:
        return ""
    for path in run.glob("*.pt"):
        try:
            document = checkpoints.read(path).document
        except Exception as error:
            return f"{path.name}: {error}"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    epochs = [row["epoch"] for row in rows if row["kind"] == "epoch"]
    if epochs != list(range(1, len(epochs) + 1)):
        return f"metrics.jsonl has the epochs {epochs}"
    document = checkpoints.read(run / "last.pt").document
    if not 0 <= len(document["metrics"]) - len(epochs) <= 1:
        return f"last.pt knows {len(document['metrics'])} epochs, metrics.jsonl {len(epochs)}"
    return ""


def go_on(warm: Warm, folder: Path, *arguments: object) -> Outcome:
    """Resume the run in ``folder``, or begin it where there was nothing to resume from yet."""
    run = newest_run(folder)
    if run is None:
        return warm.run(*RUN, *arguments, folder=folder)
    return warm.run("train", "--resume", run.relative_to(folder), folder=folder)


def unlike(whole: Whole, folder: Path) -> list[str]:
    """Where a run that has ended differs from the one that nothing befell; [] if nowhere."""
    run, other = newest_run(folder), newest_run(whole.folder)
    assert run is not None
    assert other is not None
    found = [str(path) for path in folder.rglob("*.tmp")]
    for name in ("last.pt", "best.pt"):
        one, two = (torch.load(path / name, weights_only=True) for path in (run, other))
        found += [f"{name}{where}" for where in differences(one, two, ignore=SECONDS)]
    figures = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (run, other)
    ]
    found += [f"metrics.jsonl{where}" for where in differences(*figures, ignore=SECONDS)]
    results = [json.loads((path / "summary.json").read_text()) for path in (run, other)]
    timed = (*SECONDS, "run", "checkpoint")
    return found + [f"summary.json{where}" for where in differences(*results, ignore=timed)]


def ends_alike(warm: Warm, whole: Whole, folder: Path, *arguments: object) -> str:
    """Look at what is left, go on to the end and compare; "" if all is as it must be."""
    broken = damage(folder)
    if broken:
        return broken
    done = go_on(warm, folder, *arguments)
    if done.code:
        return f"could not go on: exit code {done.code}: {done.err}"
    return "; ".join(unlike(whole, folder)[:3])
