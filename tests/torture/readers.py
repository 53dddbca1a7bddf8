"""Every command that reads a checkpoint, and one that is good."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, settings
from victim import End, Victim

SMALL = ["--set", "train_size=192", "--set", "val_size=64", "--set", "threads=1"]
TRAIN = ["train", "--config", "smoke", "--set", "precision=fp32", *SMALL, "--quiet"]
PLAIN = ["--set", "model=notebook", "--set", "optimizer=sgd", "--set", "momentum=0.9"]

# A command that comes to read checkpoints is added here; test_torture_checkpoints.py says so.
READERS: dict[str, Callable[[Path], list[object]]] = {
    "eval": lambda path: ["eval", path, "--dataset", "digits", "--json"],
    "inspect-grad": lambda path: [
        *("inspect-grad", path, "--dataset", "digits", "--batch", "2", "--out", "out", "--quiet"),
    ],
    "train": lambda path: ["train", "--resume", path, "--runs", "resumed", "--quiet"],
}


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


def saved(contents: Any) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    return buffer.getvalue()


def replaced(original: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at ``path`` (keys by slashes) replaced."""
    changed = copy.deepcopy(original)
    *parents, last = path.split("/")
    inner: Any = changed
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return changed


def feed(
    victim: Victim, contents: Iterable[bytes], readers: Iterable[str] = READERS, **options: Any
) -> list[list[End]]:
    """Let each reader read each of these files, in one fork; ends by file."""
    names = list(readers)
    paths = []
    for number, data in enumerate(contents):
        paths.append(victim.folder / f"{number}.pt")
        paths[-1].write_bytes(data)
    ends = victim.run(*(READERS[name](path) for path in paths for name in names), **options)
    for path in paths:
        path.unlink()
    return [ends[at : at + len(names)] for at in range(0, len(ends), len(names))]


def batched(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Up to ``size`` at a time, as itertools has it from Python 3.12."""
    source = iter(values)
    while some := list(islice(source, size)):
        yield some


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
