"""The training loop: one for every network, optimiser, precision and device.

:func:`fit` is a generator: it trains and yields, and neither prints nor saves. Its caller does so
between two yields, and may stop at any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mnist_cli.base.seeding import derive
from mnist_cli.data.batches import DeviceLoader, Loader
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import NonFiniteError
from mnist_cli.runs.results import EpochResult, Score
from mnist_cli.training.graphed import Capturer, Graphed
from mnist_cli.training.norms import by_parameter
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.scoring import predict, score
from mnist_cli.training.state import TrainState
from mnist_cli.training.step import Stepper, add_origin
from mnist_cli.training.step_log import Mark, due, interval, known


@dataclass(frozen=True)
class StepResult:
    """One step, or the steps of one replayed graph.

    The last of them is step ``batch`` of ``batches`` in epoch ``epoch``; both count from 1.
    """

    epoch: int
    batch: int
    batches: int


Event = StepResult | EpochResult


def fit(
    state: TrainState,
    loader: Loader,
    val: Split | None,
    normalisation: Normalisation,
    capturer: Capturer | None = None,
) -> Iterator[Event]:
    """Train from the position of ``state`` to the end, yielding after steps and each epoch.

    After each yield the state is complete: a run that is saved there and resumed ends with the
    same bits. Dropout draws from torch's global generators, which each epoch seeds.

    Args:
        state: the run; changes with each step.
        loader: the training batches.
        val: the validation split, on the device; None validates nothing.
        normalisation: of the training set.
        capturer: captures steps, which are then replayed (:mod:`mnist_cli.training.graphed`).

    Raises:
        NonFiniteError: the loss or the gradient is no longer finite; the step is not applied.
    """
    stepper = Stepper(state, LearningRate(state.config, loader.batches))
    graphed = None
    if capturer is not None:
        assert isinstance(loader, DeviceLoader)  # graphed.obstacle() refuses other loaders
        graphed = Graphed(stepper, loader, capturer)
    every = interval(state.config, loader.batches)
    if state.partial and not state.limit:  # the limit was raised: continue the epoch
        state.history.pop()
    while not state.finished:
        if state.batch == 0:
            torch.manual_seed(derive(state.config.seed, "epoch", state.epoch))
        state.model.train()
        state.clock.start()
        steps = graphed.epoch() if graphed else stepper.epoch(loader)
        before = state.batch
        for _ in () if state.limit else steps:
            marked = due(before, state.batch, every)
            state.log.marks += [_mark(stepper, batch, graphed) for batch in marked]
            before = state.batch
            state.watch_time()
            yield StepResult(state.epoch + 1, state.batch, loader.batches)
            if state.limit:
                break
        state.clock.stop()
        report(state, loader)
        yield _finish_epoch(state, loader, stepper, validate(state, val, normalisation))


def _mark(stepper: Stepper, batch: int, graphed: Graphed | None) -> Mark:
    """The sums after ``batch`` steps of the epoch; later steps may have been taken already.

    A replayed graph takes several steps at once, and leaves the sums of each step on the device.
    """
    state, running = stepper.state, stepper.state.running
    ago = state.batch - batch
    sums = graphed.sums_after(batch) if graphed else running.sums
    return Mark(
        batch=batch,
        step=state.step - ago,
        images=running.images - ago * state.config.images_per_step,
        steps=running.steps - ago,
        lr=stepper.schedule.rate_on_device(state.step - ago - 1),
        sums=sums.clone(),
    )


def report(state: TrainState, loader: Loader) -> None:
    """Report a step that the guard has skipped, if any; waits for the device.

    Raises:
        NonFiniteError: a step of this epoch and all later steps were skipped. The weights have
            not changed since, so the step's batch shows the module where it began.
    """
    try:
        state.guard.report()
    except NonFiniteError as error:
        batch = (error.step or 0) % loader.batches
        images, _ = next(iter(loader.epoch(state.epoch, batch)))
        add_origin(error, state, images)
        raise


def validate(state: TrainState, val: Split | None, normalisation: Normalisation) -> Score | None:
    """The score of all ranks together on the validation split; None without a split."""
    if val is None:
        return None
    log_probabilities = predict(
        state.eval_model,
        val,
        normalisation,
        batch_size=state.config.eval_batch_size,
        precision=state.precision,
        ranks=state.ranks,
        pair=state.pair,
    )
    if state.config.model.is_own:
        state.ranks.unite(state.eval_model)
    return score(log_probabilities, val.labels)


def _finish_epoch(
    state: TrainState, loader: Loader, stepper: Stepper, val: Score | None
) -> EpochResult:
    """Turn the sums into the epoch's result, and move the state to the start of the next epoch.

    If a limit stops the run within an epoch, the state does not move.
    """
    seconds = state.clock.seconds - sum(result.seconds for result in state.history)
    means = state.running.means()
    plain_loss = known(means.pop("plain_loss"))
    result = EpochResult(
        epoch=state.epoch + 1,
        step=state.step,
        val=val,
        lr=stepper.lr,
        images_per_second=state.running.images / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        norms=by_parameter(stepper.names, state.running.norms),
        plain_loss=plain_loss,
        **means,
    )
    state.history.append(result)
    if state.batch < loader.batches:
        return result
    state.log.close(state.epoch, loader.batches)
    state.running.reset()
    state.epoch, state.batch = state.epoch + 1, 0
    return result
