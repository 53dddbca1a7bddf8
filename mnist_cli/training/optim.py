"""Optimisers and learning-rate schedules, by name.

Knows nothing of networks or data: parameters in, torch optimisers out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_cli.base.pair import Pair
from mnist_cli.config.schema import TrainConfig
from mnist_cli.devices.kinds import kind_of
from mnist_cli.runs.results import EpochResult, StepRow
from mnist_cli.training.muon import Muon

KINDS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "sgd": (torch.optim.SGD, ("momentum", "nesterov")),
    "adam": (torch.optim.Adam, ("beta1", "beta2", "eps")),
    "adamw": (torch.optim.AdamW, ("beta1", "beta2", "eps")),
    "adadelta": (torch.optim.Adadelta, ("rho", "eps")),
    "muon": (Muon, ("momentum", "nesterov", "ns_steps")),
}
"""Each optimiser's class and the keys of the configuration that it takes."""

FUSED = ("sgd", "adam", "adamw")
"""Optimisers that torch computes in one kernel for all parameters."""


def build_optimizers(
    config: TrainConfig, parameters: Iterable[nn.Parameter], pair: Pair | None = None
) -> list[Optimizer]:
    """The optimisers of ``config.optimizer``: one, or for Muon up to two.

    Muon updates the matrices, or an ensemble's stacks of them, and with ``muon_filters`` the
    filters of convolutions. AdamW updates the others. The threads of ``pair`` share Muon's.
    """
    params = list(parameters)
    if config.optimizer != "muon":
        return [_build(config.optimizer, config, params)]
    stacked = config.ensemble > 1
    most = 5 if config.setting("muon_filters") else 2  # filters have 3 to 5 dimensions
    parts = dict[str, list[nn.Parameter]](muon=[], adamw=[])
    for p in params:
        parts["muon" if 2 <= p.ndim - stacked <= most else "adamw"].append(p)
    optimizers = [_build(name, config, part) for name, part in parts.items() if part]
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.pair, optimizer.stacked = pair, stacked
    return optimizers


def _build(name: str, config: TrainConfig, params: list[nn.Parameter]) -> Optimizer:
    kind, keys = KINDS[name]
    settings = {key: config.setting(key) for key in keys}
    if name == "sgd":  # torch refuses Nesterov momentum without momentum
        settings["nesterov"] = settings["nesterov"] and settings["momentum"] > 0
    if "beta1" in settings:
        settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
    if name in FUSED:
        fused = (kind_of(p.device).fused and p.is_floating_point() for p in params)
        settings["fused"] = all(fused)
    optimizer: Optimizer = _without_compiler(kind)(
        params, lr=config.lr, weight_decay=config.weight_decay, **settings
    )
    return optimizer


def begin_late(optimizer: Optimizer) -> None:
    """Let parameters get their first gradient after others have: their momentum is 0 until then.

    torch's fused SGD raises an error if only some of the parameters with a gradient have momentum.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if p.grad is not None]
        late = [p for p in moved if optimizer.state[p].get("momentum_buffer") is None]
        if group["momentum"] and len(late) < len(moved):
            for p in late:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


@cache
def _without_compiler(kind: type[Optimizer]) -> Any:
    """The same optimiser with methods that do not import torch's compiler.

    torch wraps them to exclude them from torch.compile. Each wrapper imports the compiler and
    SymPy, which takes 1.2 s, and our optimisers are never compiled. The wrapped methods are
    public (``__wrapped__``); if torch wraps nothing, nothing changes.
    """
    methods = inspect.getmembers(kind, inspect.isfunction)
    plain = {name: inspect.unwrap(m) for name, m in methods if hasattr(m, "__wrapped__")}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), plain)


@dataclass(frozen=True)
class LearningRate:
    """The learning rate at each step, as a factor of the configured ``lr``: no state to save.

    Attributes:
        config: the run's configuration.
        steps_per_epoch: number of steps in an epoch.
        single: whether rates are rounded to float32, as a device reads them.
    """

    config: TrainConfig
    steps_per_epoch: int
    single: bool = False

    def factor(self, step: int) -> float:
        """The factor of ``lr`` at ``step``, counted from 0 over the whole run."""
        warmup = round(self.config.warmup * self.steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        if self.config.schedule == "constant":
            return 1.0
        shapes = {"step": self._step, "cosine": self._cosine, "onecycle": self._onecycle}
        total = self.config.epochs * self.steps_per_epoch
        return shapes[self.config.schedule](step - warmup, total - warmup)

    def course(self, epochs: int, points: int = 200) -> list[tuple[float, float]]:
        """Pairs of the epochs done so far and the rate of the next step, over ``epochs`` epochs.

        There are about ``points`` pairs, evenly spread, and one for the last step.
        """
        steps = epochs * self.steps_per_epoch
        every = max(1, steps // points)
        chosen = [*range(0, steps - 1, every), steps - 1]
        return [(step / self.steps_per_epoch, self.rate(step)) for step in chosen]

    def _step(self, step: int, total: int) -> float:
        """As torch's StepLR: multiplied by ``gamma`` every ``step_epochs`` epochs."""
        drops = step // (self.steps_per_epoch * int(self.config.setting("step_epochs")))
        return float(self.config.setting("gamma")) ** drops

    def _cosine(self, step: int, total: int) -> float:
        """As torch's CosineAnnealingLR, down to ``final_factor`` (Loshchilov & Hutter 2017)."""
        low = float(self.config.setting("final_factor"))
        return low + (1 - low) * (1 + math.cos(math.pi * step / total)) / 2

    def _onecycle(self, step: int, total: int) -> float:
        """As torch's OneCycleLR with cosines: up to 1 at ``peak_at``, then down (Smith 2018)."""
        peak = float(self.config.setting("peak_at")) * total - 1
        if peak > 0 and step <= peak:
            return _cosine_between(float(self.config.setting("initial_factor")), 1.0, step / peak)
        start, end = max(peak, 0.0), total - 1
        progress = (step - start) / (end - start) if end > start else 0.0
        return _cosine_between(1.0, float(self.config.setting("final_factor")), progress)

    def rate(self, step: int) -> float:
        """The learning rate at ``step``, counted from 0 over the whole run."""
        return self.config.lr * self.factor(step)

    def rate_on_device(self, step: int) -> float:
        """The learning rate at ``step`` as the optimiser gets it: rounded if ``single``."""
        value = self.rate(step)
        return float(np.float32(value)) if self.single else value

    def apply(self, optimizers: Sequence[Optimizer], step: int) -> float:
        """Set the learning rate of step ``step`` in every optimiser, and return it."""
        value = self.rate_on_device(step)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(value)
                else:
                    group["lr"] = value
        return value


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rates(
    config: TrainConfig, history: Sequence[EpochResult], steps: Sequence[StepRow]
) -> list[tuple[float, float]]:
    """The learning rate over these epochs, as ``steps`` or :meth:`LearningRate.course` has it.

    Empty if the numbers of the epochs are inconsistent.
    """
    if len(steps) > 1:
        return [(row.done, row.lr) for row in steps]
    if not history or history[-1].step < history[-1].epoch or history[-1].epoch < 1:
        return []
    last = history[-1]
    return LearningRate(config, last.step // last.epoch).course(last.epoch)
