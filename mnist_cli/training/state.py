"""Everything that training changes from step to step, so that a checkpoint must hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_cli.base.pair import Pair
from mnist_cli.base.seeding import derive
from mnist_cli.config.names import ModelName
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import Normalisation
from mnist_cli.devices.device import Precision
from mnist_cli.devices.kinds import synchronize
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import join
from mnist_cli.networks.stated import stated_normalisation
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.compute import Compute
from mnist_cli.training.guard import Guard, build_guard
from mnist_cli.training.optim import build_optimizers
from mnist_cli.training.ranks import ALONE, Ranks
from mnist_cli.training.starting import Start
from mnist_cli.training.step_log import Running, StepLog


@dataclass
class Clock:
    """Seconds spent in steps; stopped inside :meth:`paused`."""

    device: torch.device
    seconds: float = 0.0
    _since: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start or resume the clock."""
        self._since = perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds so far; does not wait for the device."""
        return self.seconds + (0.0 if self._since is None else perf_counter() - self._since)

    def stop(self) -> None:
        """Wait for the device, then stop counting."""
        if self._since is not None:
            synchronize(self.device)
            self.seconds += perf_counter() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for work that is not training: evaluating, saving, reporting."""
        running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()


@dataclass
class TrainState:
    """A run in progress. ``epoch`` and ``batch``, both from 0, are the next to train on.

    If a limit stops a run within an epoch, the run keeps its position, so that it can continue.
    ``halted`` is the reason why an observer or a callback stops it. A checkpoint does not hold this
    reason, so that a resumed run continues.
    """

    config: TrainConfig
    device: torch.device
    precision: Precision
    captured: bool
    model: nn.Module
    optimizers: list[Optimizer]
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    guard: Guard
    running: Running
    clock: Clock
    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[EpochResult] = field(default_factory=list)
    log: StepLog = field(default_factory=StepLog)
    out_of_time: bool = False
    halted: str = ""
    ranks: Ranks = ALONE
    pair: Pair | None = None
    start: Mapping[str, str] | None = None

    @property
    def eval_model(self) -> nn.Module:
        """The network to evaluate: the averaged one if weights are averaged."""
        return self.ema.module if self.ema is not None else self.model

    def started_at(self, part: str) -> str:
        """``path`` or ``sha256`` of the checkpoint that the run started from; empty without one."""
        return (self.start or {}).get(part, "")

    @property
    def at_best(self) -> bool:
        """Whether this is the end of the epoch with the best validation accuracy.

        If accuracies are equal, the lower loss is better; then the later epoch.
        """
        judged = [(r.val.accuracy, -r.val.loss, r.epoch) for r in self.history if r.val]
        return bool(judged) and not self.batch and max(judged)[2] == self.epoch

    @property
    def partial(self) -> bool:
        """Whether the last result belongs to an epoch that a limit has stopped in the middle."""
        return len(self.history) > self.epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or the run stops early, and its result is known."""
        reported = not self.batch or self.partial
        return self.epoch >= self.config.epochs or (bool(self.stop_reason) and reported)

    @property
    def limit(self) -> str:
        """Why no further step is taken: a limit of steps or time, or ``halted``; else empty."""
        if self.halted:
            return self.halted
        most = self.config.max_steps
        if most and self.step >= most:
            return f"{self.step:,} steps are done, and max_steps is {most:,}"
        if self.out_of_time:
            return f"it has trained for max_time = {self.config.max_time:g} seconds"
        return ""

    def watch_time(self) -> None:
        """Record whether ``max_time`` is over, the same on all ranks; the clock keeps running."""
        most = self.config.max_time
        if most:
            self.out_of_time = bool(self.ranks.agree(int(self.clock.elapsed >= most)))

    @property
    def stop_reason(self) -> str:
        """Why the run ends before its last epoch; empty if it does not."""
        if limit := self.limit:
            return limit
        last = self.history[-1] if self.history else None
        if self.batch or last is None or last.val is None:
            return ""
        target, patience = self.config.target_accuracy, self.config.early_stopping
        if target and last.val.accuracy >= target:
            return f"validation accuracy {last.val.accuracy:.4f} has reached {target}"
        if patience and last.epoch - self._first_best_epoch() >= patience:
            return f"no better validation accuracy for {patience} epochs"
        return ""

    def _first_best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy: an equal accuracy is no better."""
        judged = [(result.val.accuracy, -result.epoch) for result in self.history if result.val]
        return -max(judged)[1]


def fresh_state(
    config: TrainConfig, compute: Compute, classes: int, start: Start | None = None
) -> TrainState:
    """A run that has not begun: weights drawn from ``config.seed``, the same on every device.

    The weights of ``start`` replace them.
    """
    device, precision = compute.device, compute.precision
    model = fresh_model(config, classes)
    if start is not None:
        start.load_into(model, classes)
    model = model.to(device)
    ema = None
    if config.ema:
        decays = get_ema_multi_avg_fn(config.ema)
        ema = AveragedModel(model, multi_avg_fn=decays, use_buffers=True)
    optimizers = build_optimizers(config, model.parameters(), compute.pair)
    scaler = torch.amp.GradScaler(device.type, enabled=precision.name == "fp16")
    return TrainState(
        config=config,
        device=device,
        precision=precision,
        captured=compute.captured,
        model=model,
        optimizers=optimizers,
        scaler=scaler,
        ema=ema,
        guard=build_guard(device, optimizers, scaler),
        running=Running.on(device),
        clock=Clock(device),
        ranks=compute.ranks,
        pair=compute.pair,
        start=start.record if start is not None else None,
    )


def fresh_model(config: TrainConfig, classes: int) -> nn.Module:
    """The configured network or ensemble on the CPU, weights drawn from the seed alone.

    An ensemble's first member has the weights of a network trained alone.
    """
    networks = [_fresh_network(config, classes, number) for number in range(config.ensemble)]
    # torch.func.vmap may not support what a network of the user's own computes.
    return join(networks, batched=False if config.model.is_own else None)


def normalisation_of(model: ModelName, data: LoadedData) -> Normalisation:
    """The normalisation of a fresh network: the one that its class states, or else the data set's.

    Raises:
        UsageError: a user's own network cannot be read, or its normalisation is invalid.
    """
    stated = stated_normalisation(model)
    return data.normalisation if stated is None else Normalisation(*stated)


def _fresh_network(config: TrainConfig, classes: int, number: int) -> nn.Module:
    stream = (number,) if number else ()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(config.seed, "weights", *stream))
        model = models.build(config.model, classes)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return model.to(memory_format=layout)
