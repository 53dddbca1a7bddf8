"""Finds a learning rate: a short training whose rate rises exponentially, step by step.

The proposal is the rate at which the loss falls most steeply. Weights, augmentation, loss and
optimiser are the recipe's; its schedule is not used.

Sources: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, for
the range test. Gugger, "How Do You Find A Good Learning Rate", 2018, for the exponential rise, the
smoothed loss and the end at four times the lowest loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mnist_cli.base.seeding import derive
from mnist_cli.base.signals import StopRequest
from mnist_cli.devices.device import compute_settings
from mnist_cli.devices.memory import explain_out_of_memory
from mnist_cli.errors import NonFiniteError
from mnist_cli.runs.results import MEANS
from mnist_cli.training.halving import threads_of_each
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.session import Session
from mnist_cli.training.step import Stepper

LOW, HIGH = 1e-6, 10.0
STEPS = 140
"""Twenty for each decade."""

MEMORY = 0.9
"""Share of the smoothed loss that each step keeps."""

UNSETTLED = round(1 / (1 - MEMORY))
"""Number of first steps that are ignored. Their smoothed loss is the mean of a few batches, whose
chance differences are steeper than a fall."""

BEYOND = 4.0
"""The trial ends when the smoothed loss exceeds its lowest value this many times."""

FALLS = 0.95
"""A rate is proposed only if the smoothed loss falls below this share of its first value."""


@dataclass(frozen=True)
class RateTrial:
    """The losses (nats, without label smoothing) of steps with rising learning rates.

    Attributes:
        rates: of each step.
        losses: before each step, of its images.
        smoothed: their exponential moving averages, corrected for the beginning.
        proposal: the rate of the steepest descent; None if the loss does not fall.
        lowest: the rate of the lowest smoothed loss: an upper limit.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    proposal: float | None
    lowest: float | None


@dataclass(frozen=True)
class RisingRate(LearningRate):
    """From :data:`LOW` to :data:`HIGH` in :data:`STEPS` steps, by the same factor each step."""

    def rate(self, step: int) -> float:
        """The learning rate at ``step``, counted from 0."""
        return float(LOW * (HIGH / LOW) ** (step / (STEPS - 1)))


def try_rates(session: Session, stop: StopRequest) -> RateTrial:
    """Train with rising rates from a fresh session's weights, which change; nothing is saved.

    Raises:
        Stopped: ``stop`` came true.
        OutOfMemory: a batch is too large.
    """
    config = session.config
    settings = compute_settings(
        session.compute.device,
        threads=threads_of_each(config, session.compute.pair),
        deterministic=config.deterministic,
    )
    rates: list[float] = []
    losses: list[float] = []
    with settings, explain_out_of_memory(config.batch_size):
        for rate, loss in _steps(session):
            rates.append(rate)
            losses.append(loss)
            smoothed = smooth(losses)
            if smoothed[-1] > BEYOND * min(smoothed):
                break
            if stop:
                raise stop.error("stopped while trying learning rates; nothing was kept")
    smoothed = smooth(losses)
    proposal = propose(rates, smoothed)
    lowest = None if proposal is None else rates[int(np.argmin(smoothed))]
    return RateTrial(tuple(rates), tuple(losses), smoothed, proposal, lowest)


def _steps(session: Session) -> Iterator[tuple[float, float]]:
    """The rate and the loss of each step, until one is not finite."""
    state, loader = session.state, session.loader
    stepper = Stepper(state, RisingRate(session.config, loader.batches))
    place, before, images = tuple(MEANS).index("plain_loss"), 0.0, 0
    state.model.train()
    while state.step < STEPS:
        torch.manual_seed(derive(session.config.seed, "epoch", state.epoch))
        steps = stepper.epoch(loader)
        try:
            for _ in steps:
                state.guard.report()
                total = float(state.running.sums[place])
                yield stepper.lr, (total - before) / (state.running.images - images)
                before, images = total, state.running.images
                if state.step == STEPS:
                    return
        except NonFiniteError:
            return
        state.epoch, state.batch = state.epoch + 1, 0


def smooth(losses: Sequence[float]) -> tuple[float, ...]:
    """The exponential moving average of losses, divided by the weights so far (Kingma & Ba 2015)."""
    mean, smoothed = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        smoothed.append(mean / (1 - MEMORY**number))
    return tuple(smoothed)


def propose(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate of the steepest fall of the loss over log(rate), up to the lowest loss.

    The first :data:`UNSETTLED` steps do not count.
    """
    rates, smoothed = rates[UNSETTLED:], smoothed[UNSETTLED:]
    if len(rates) < 3 or not min(smoothed) < FALLS * smoothed[0]:
        return None
    lowest = int(np.argmin(smoothed))
    slopes = np.gradient(np.array(smoothed), [math.log(rate) for rate in rates])
    return float(rates[int(np.argmin(slopes[: lowest + 1]))])
