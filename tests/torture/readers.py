"""Every way to give the program a checkpoint, and a good one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from command_tree import commands
from hypothesis import HealthCheck, Phase, settings
from program import TINY
from victim import End, Victim

TRAIN = [*TINY, "--quiet"]
PLAIN = ["--set", "model=notebook", "--set", "optimizer=sgd", "--set", "momentum=0.9"]
INSPECT = ["inspect-grad", "--dataset", "digits", "--batch-size", "2"]
PLOT = ["plot", "--only", "curves,filters", "--format", "svg", "--out", "plots", "--quiet"]
PICTURE = "digit.pgm"
"""Lies in the victim's folder."""
TAKEN = socket.create_server(("127.0.0.1", 0))
"""Holds a port, so that `mnist draw` ends before it serves."""

# Add here every command or option that reads checkpoints, with words that make it read one.
# test_torture_readers.py names those that are missing.
Reader = Callable[[Path], list[object]]
READERS: dict[str, Reader] = {
    "eval": lambda path: ["eval", path, "--dataset", "digits", "--json"],
    "predict": lambda path: ["predict", PICTURE, "--checkpoint", path, "--json"],
    "plot": lambda path: [*PLOT, path, "--dataset", "digits"],
    "inspect-grad": lambda path: [*INSPECT, path, "--out", "out", "--quiet"],
    "model": lambda path: ["model", path, "--json"],
    "export": lambda path: ["export", path, "--out", "exported/net.safetensors", "--force"],
    "draw": lambda path: ["draw", path, "--port", TAKEN.getsockname()[1]],
    "train": lambda path: ["train", "--resume", path, "--runs", "resumed", "--quiet"],
}
"""A command each: its first way in. All that is hostile or foreign is tried on each of them."""
ALSO: dict[str, Reader] = {
    "plot, several": lambda path: ["plot", path, path, "--format", "svg", "--out", "plots"],
    "inspect-grad --compare": lambda path: [*INSPECT, "--compare", path, path],
    "inspect-grad --against": lambda path: [*INSPECT, "--model", "notebook", "--against", path],
    "train --from": lambda path: [*TRAIN, "--dry-run", "--from", path],
    "inspect-grad --grad": lambda path: [
        *("inspect-grad", "--expr", "x * y", "--at", "x=2", "--at", "y=3", "--grad", path),
    ],
}
"""Their other ways in: what runs code and what is huge in use is tried on these too."""
WAYS_IN = READERS | ALSO


def taken_in(name: str, end: End) -> bool:
    """Whether a reader accepted the file, and did nothing that it should not do.

    For ``mnist draw``: whether it went on to serve its page, on a port that is taken.
    """
    if name != "draw":
        return end.code == 0 and not end.seen
    bind = str(TAKEN.getsockname())
    own = all(event.startswith("socket.__new__") or bind in event for event in end.seen)
    return end.code == 5 and "is in use" in end.message and own


COMMANDS: dict[str, Callable[..., Any]] = {
    path.removeprefix("mnist "): command.callback
    for path, command in commands().items()
    if not hasattr(command, "commands")
}
"""The words of every command, and its function."""


def lay_picture(folder: Path) -> None:
    """A digit to classify: a stroke, in the simplest format that there is."""
    row = bytes(12) + b"\xff" * 4 + bytes(12)
    (folder / PICTURE).write_bytes(b"P5 28 28 255\n" + bytes(28 * 4) + row * 20 + bytes(28 * 4))


@cache
def good(victim: Victim) -> Path:
    """``last.pt`` of a run of nine steps on the bundled digits, trained to its end."""
    (end,) = victim.run([*TRAIN, *PLAIN, "--runs", "good"])
    assert end.code == 0, end.err
    return victim.folder / "good" / "0001-digits-notebook" / "last.pt"


def document(victim: Victim) -> dict[str, Any]:
    """What the good checkpoint holds."""
    loaded: dict[str, Any] = torch.load(good(victim), weights_only=True)
    return loaded


def feed(
    victim: Victim, contents: Iterable[bytes], readers: Iterable[str] = READERS, **options: Any
) -> list[list[End]]:
    """Let each reader read each of these files, in one fork; ends by file."""
    names = list(readers)
    paths = []
    for number, data in enumerate(contents):
        paths.append(victim.folder / f"{number:04}.pt")
        paths[-1].write_bytes(data)
    ends = victim.run(*(WAYS_IN[name](path) for path in paths for name in names), **options)
    for path in paths:
        path.unlink()
    return [ends[at : at + len(names)] for at in range(0, len(ends), len(names))]


def fuzz(examples: int) -> settings:
    """Hypothesis, the same each time, without a folder of its own."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
