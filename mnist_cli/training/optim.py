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

from mnist_cli.config.schema import TrainConfig
from mnist_cli.devices.kinds import kind_of
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.muon import Muon


def build_optimizers(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> list[Optimizer]:
    """The optimisers of ``config.optimizer``: one, or for Muon two that share the parameters."""
    params = list(parameters)
    build = {
        "sgd": _sgd,
        "adam": _adam,
        "adamw": _adamw,
        "adadelta": _adadelta,
        "muon": _muon,
    }[config.optimizer]
    return build(config, params)


@cache
def _without_compiler(kind: type[Optimizer]) -> Any:
    """The same optimiser, whose methods do not import torch's compiler when they are called.

    torch wraps them so that torch.compile leaves them alone, and each wrapper imports the
    compiler, with SymPy: 1.2 s of start-up, for a compiler that never sees our optimisers.
    What is wrapped is public (``__wrapped__``); a torch that wraps nothing changes nothing.
    """
    methods = inspect.getmembers(kind, inspect.isfunction)
    plain = {name: inspect.unwrap(m) for name, m in methods if hasattr(m, "__wrapped__")}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), plain)


def _fused(params: Sequence[nn.Parameter]) -> bool:
    """One kernel for all parameters, where torch has one for the device."""
    return all(kind_of(p.device).fused and p.is_floating_point() for p in params)


def _sgd(config: TrainConfig, params: list[nn.Parameter]) -> list[Optimizer]:
    momentum = config.setting("momentum")
    return [
        _without_compiler(torch.optim.SGD)(
            params,
            lr=config.lr,
            momentum=momentum,
            nesterov=bool(config.setting("nesterov") and momentum),
            weight_decay=config.weight_decay,
            fused=_fused(params),
        )
    ]


def _adam(config: TrainConfig, params: list[nn.Parameter]) -> list[Optimizer]:
    return [_without_compiler(torch.optim.Adam)(params, **_adam_settings(config, params))]


def _adamw(config: TrainConfig, params: list[nn.Parameter]) -> list[Optimizer]:
    return [_without_compiler(torch.optim.AdamW)(params, **_adam_settings(config, params))]


def _adam_settings(config: TrainConfig, params: list[nn.Parameter]) -> dict[str, Any]:
    return {
        "lr": config.lr,
        "betas": (config.setting("beta1"), config.setting("beta2")),
        "eps": config.setting("eps"),
        "weight_decay": config.weight_decay,
        "fused": _fused(params),
    }


def _adadelta(config: TrainConfig, params: list[nn.Parameter]) -> list[Optimizer]:
    return [
        _without_compiler(torch.optim.Adadelta)(
            params,
            lr=config.lr,
            rho=config.setting("rho"),
            eps=config.setting("eps"),
            weight_decay=config.weight_decay,
        )
    ]


def _muon(config: TrainConfig, params: list[nn.Parameter]) -> list[Optimizer]:
    """Muon for the matrices, or an ensemble's stacks of them, AdamW for everything else."""
    dimensions = 2 if config.ensemble == 1 else 3
    matrices = [p for p in params if p.ndim == dimensions]
    others = [p for p in params if p.ndim != dimensions]
    optimizers: list[Optimizer] = []
    if matrices:
        optimizers.append(
            _without_compiler(Muon)(
                matrices,
                lr=config.lr,
                momentum=config.setting("momentum"),
                nesterov=bool(config.setting("nesterov")),
                ns_steps=config.setting("ns_steps"),
                weight_decay=config.weight_decay,
            )
        )
    return optimizers + (_adamw(config, others) if others else [])


@dataclass(frozen=True)
class LearningRate:
    """The learning rate at each step, as a factor of the configured one: no state to save."""

    schedule: str
    total_steps: int
    steps_per_epoch: int
    warmup_epochs: float
    settings: Mapping[str, Any]
    single: bool = False
    """Whether rates are rounded to float32, as a device reads them."""

    @classmethod
    def of(cls, config: TrainConfig, steps_per_epoch: int) -> LearningRate:
        """The schedule of ``config`` for a run whose epochs have so many steps."""
        keys = ("step_epochs", "gamma", "peak_at", "initial_factor", "final_factor")
        return cls(
            schedule=config.schedule,
            total_steps=config.epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            warmup_epochs=config.warmup,
            settings={key: config.setting(key) for key in keys},
        )

    def factor(self, step: int) -> float:
        """What ``lr`` is multiplied by at step ``step``, counted from 0 over the whole run."""
        warmup = round(self.warmup_epochs * self.steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        shape = {
            "constant": self._constant,
            "step": self._step,
            "cosine": self._cosine,
            "onecycle": self._onecycle,
        }[self.schedule]
        return shape(step - warmup, self.total_steps - warmup)

    def course(self, lr: float, epochs: int, points: int = 200) -> list[tuple[float, float]]:
        """Where the rate goes in so many epochs: epochs done, from 0, and the rate of the next step.

        Up to ``points`` of it and the last step's, evenly spread.
        """
        steps = epochs * self.steps_per_epoch
        every = max(1, steps // points)
        chosen = [*range(0, steps - 1, every), steps - 1]
        return [(step / self.steps_per_epoch, lr * self.factor(step)) for step in chosen]

    def _constant(self, step: int, total: int) -> float:
        return 1.0

    def _step(self, step: int, total: int) -> float:
        """As torch's StepLR: times ``gamma`` every ``step_epochs`` epochs."""
        drops = step // (self.steps_per_epoch * int(self.settings["step_epochs"]))
        return float(self.settings["gamma"]) ** drops

    def _cosine(self, step: int, total: int) -> float:
        """As torch's CosineAnnealingLR, down to ``final_factor`` (Loshchilov & Hutter 2017)."""
        low = float(self.settings["final_factor"])
        return low + (1 - low) * (1 + math.cos(math.pi * step / total)) / 2

    def _onecycle(self, step: int, total: int) -> float:
        """As torch's OneCycleLR with cosines: up to 1 at ``peak_at``, then down (Smith 2018)."""
        peak = float(self.settings["peak_at"]) * total - 1
        if peak > 0 and step <= peak:
            return _cosine_between(float(self.settings["initial_factor"]), 1.0, step / peak)
        start, end = max(peak, 0.0), total - 1
        progress = (step - start) / (end - start) if end > start else 0.0
        return _cosine_between(1.0, float(self.settings["final_factor"]), progress)

    def apply(self, optimizers: Sequence[Optimizer], lr: float, step: int) -> float:
        """Set the learning rate of step ``step`` in every optimiser, and return it."""
        value = lr * self.factor(step)
        value = float(np.float32(value)) if self.single else value
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
    config: TrainConfig, history: Sequence[EpochResult]
) -> list[tuple[float, float]]:
    """The course of the learning rate over these epochs: see :meth:`LearningRate.course`.

    Empty where their numbers make no sense.
    """
    if not history or history[-1].step < history[-1].epoch or history[-1].epoch < 1:
        return []
    last = history[-1]
    return LearningRate.of(config, last.step // last.epoch).course(config.lr, last.epoch)
