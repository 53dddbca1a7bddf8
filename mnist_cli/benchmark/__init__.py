"""Measures recipes on this machine, each run in a separate process, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FACTORS = ("images", "batch", "width", "threads")
"""What the cost of training may grow with."""

EVALUATED = (
    *("dataset", "model", "ensemble"),
    *("channels_last", "device", "precision", "deterministic", "threads"),
)
"""The keys of a recipe that its evaluation depends on."""

ALONE: Mapping[str, Any] = {
    "epochs": 1,
    "lr": 1e-3,
    "val_size": 0,
    "drop_last": False,
    "warmup": 0.0,
    "early_stopping": 0,
    "target_accuracy": 0.0,
    "max_steps": 0,
    "max_time": 0.0,
    "checkpoint_every": 0,
}
"""The settings of every training of ``--scaling``: one epoch, and nothing that ends or interrupts it.

The learning rate does not change the cost, and with a small one no width or batch size diverges.
"""
