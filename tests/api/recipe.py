"""The recipe of :data:`program.TINY` as arguments of ``mnist.train``, and a run's bits."""

from __future__ import annotations

from typing import Any

import mnist_cli as mnist
from mnist_cli import Run
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.digest import digests

TINY: dict[str, Any] = {"train_size": 192, "val_size": 64, "threads": 1, "precision": "fp32"}


def train(recipe: Any = "smoke", **settings: Any) -> Run:
    return mnist.train(recipe, **{"progress": False, **TINY, **settings})


def bits(run: Run) -> dict[str, str]:
    return digests(checkpoints.read(run.path / "last.pt", run.network).document)
