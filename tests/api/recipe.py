"""The recipe of :data:`program.TINY` as arguments of ``mnist.train``."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {"train_size": 192, "val_size": 64, "threads": 1, "precision": "fp32"}
