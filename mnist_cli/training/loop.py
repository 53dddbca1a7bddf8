"""The training loop: one for every network, optimiser, precision and device.

:func:`fit` is a generator: it trains and yields, and neither prints nor saves. Whoever drives it
does, between two yields, and may stop driving at any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mnist_cli.base.seeding import derive
from mnist_cli.config.names import is_own_network
from mnist_cli.data.loader import DeviceLoader, Loader
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import NonFiniteError
from mnist_cli.runs.results import EpochResult, Score
from mnist_cli.training.graphed import Capturer, Graphed
from mnist_cli.training.norms import by_parameter, trained
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.scoring import predict, score
from mnist_cli.training.state import TrainState
from mnist_cli.training.step import Stepper, add_origin


@dataclass(frozen=True)
class StepResult:
    """Steps are done, up to ``batch`` of ``batches`` of epoch ``epoch``, both counted from 1.

    One step, or where steps are captured, as many as one replay holds.
    """

    epoch: int
    batch: int
    batches: int


@dataclass(frozen=True)
class Notice:
    """Something is done otherwise than was hoped for, and the user should know."""

    message: str


Event = StepResult | EpochResult | Notice


def fit(
    state: TrainState,
    loader: Loader,
    val: Split | None,
    normalisation: Normalisation,
    capturer: Capturer | None = None,
) -> Iterator[Event]:
    """Train from where ``state`` stands to the end, yielding after steps and each epoch.

    After each yield the state is whole: saved there and loaded again, the run goes on to the
    same bits. Draws dropout from torch's global generators, which it seeds at each epoch's start.

    Args:
        state: the network, optimisers and position; changed in place.
        loader: the training set in batches.
        val: the validation set; None for none.
        normalisation: of the validation images.
        capturer: captures and replays steps (see :mod:`mnist_cli.training.graphed`); None does not.

    Raises:
        NonFiniteError: the loss or the gradient is no longer finite; the step is not applied.
    """
    stepper = Stepper(state, LearningRate.of(state.config, loader.batches))
    graphed = _graphed(stepper, loader, capturer)
    while not state.finished:
        if state.batch == 0:
            torch.manual_seed(derive(state.config.seed, "epoch", state.epoch))
        state.model.train()
        state.clock.start()
        for _ in graphed.epoch() if graphed else stepper.epoch(loader):
            yield StepResult(state.epoch + 1, state.batch, loader.batches)
            if graphed and graphed.failure:
                yield Notice(graphed.told())
        state.clock.stop()
        report(state, loader)
        yield _finish_epoch(state, loader, stepper.lr, _validate(state, val, normalisation))


def report(state: TrainState, loader: Loader) -> None:
    """Raise what the guard has put off, if anything; waits for the device.

    Raises:
        NonFiniteError: a step of this epoch was skipped, and all after it: the weights are still
            those that it met, so its batch shows where it began.
    """
    try:
        state.guard.report()
    except NonFiniteError as error:
        batch = (error.step or 0) % loader.batches
        images, _ = next(iter(loader.epoch(state.epoch, batch)))
        add_origin(error, state, images)
        raise


def _graphed(stepper: Stepper, loader: Loader, capturer: Capturer | None) -> Graphed | None:
    if capturer is None:
        return None
    assert isinstance(loader, DeviceLoader)  # graphed.obstacle() refuses the other one
    return Graphed(stepper, loader, capturer)


def _validate(state: TrainState, val: Split | None, normalisation: Normalisation) -> Score | None:
    if val is None:
        return None
    log_probabilities = predict(
        state.eval_model,
        val,
        normalisation,
        batch_size=state.config.eval_batch_size,
        precision=state.precision,
        ranks=state.ranks,
    )
    if is_own_network(state.config.model):
        state.ranks.unite(state.eval_model)
    return score(log_probabilities, val.labels)


def _finish_epoch(state: TrainState, loader: Loader, lr: float, val: Score | None) -> EpochResult:
    """Turn the sums into the epoch's figures, and set the state to the next epoch's beginning."""
    loss, accuracy, grad_norm = state.running.means()
    seconds = state.clock.seconds - sum(result.seconds for result in state.history)
    result = EpochResult(
        epoch=state.epoch + 1,
        step=state.step,
        loss=loss,
        accuracy=accuracy,
        val=val,
        lr=lr,
        grad_norm=grad_norm,
        images_per_second=loader.images / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        norms=by_parameter(trained(state.model), state.running.norms),
    )
    state.history.append(result)
    state.running.reset()
    state.epoch, state.batch = state.epoch + 1, 0
    return result
