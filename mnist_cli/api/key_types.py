"""The keys of the configuration as arguments, for type checkers and editors.

``mnist config show`` describes each. A test compares this list with
:mod:`mnist_cli.config.keys`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypedDict

from mnist_cli.config.choices import Loader, Optimizer, Precision, Schedule

if TYPE_CHECKING:
    from torch import nn

    from mnist_cli.api.run_object import Run


class Settings(TypedDict, total=False):
    """Keys of the configuration; one that is not given keeps the recipe's value."""

    dataset: str | os.PathLike[str]
    model: str | type[nn.Module]
    start: Run | str | os.PathLike[str] | int
    seed: int
    epochs: int
    train_size: int
    prefer_hard: float
    val_size: int
    ensemble: int
    loader: Loader
    workers: int
    batch_size: int
    accumulate: int
    eval_batch_size: int
    drop_last: bool
    shift: float
    rotate: float
    scale: float
    shear: float
    erase: float
    optimizer: Optimizer
    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool
    ns_steps: int
    muon_filters: bool
    beta1: float
    beta2: float
    rho: float
    eps: float
    schedule: Schedule
    warmup: float
    step_epochs: int
    gamma: float
    peak_at: float
    initial_factor: float
    final_factor: float
    label_smoothing: float
    clip_norm: float
    ema: float
    max_steps: int
    max_time: float
    early_stopping: int
    target_accuracy: float
    device: str
    precision: Precision
    channels_last: bool
    compile: bool
    cuda_graph: Literal["auto"] | bool
    deterministic: bool
    threads: int
    halves: Literal["auto"] | bool
    checkpoint_every: int
    log_every: int
