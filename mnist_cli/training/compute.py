"""Where and how a run computes, decided once, before any data are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mnist_cli.base.pair import Pair
from mnist_cli.devices.device import Precision
from mnist_cli.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Compute:
    """What a run computes with.

    Attributes:
        device: of this process.
        precision: of the network.
        captured: whether steps are captured in a CUDA graph.
        ranks: the processes that share the run.
        pair: the two threads that compute the halves of each batch; None computes it whole.
    """

    device: torch.device
    precision: Precision
    captured: bool = False
    ranks: Ranks = ALONE
    pair: Pair | None = None
