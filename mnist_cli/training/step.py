"""One optimisation step, the same for every network, optimiser, precision and device.

:mod:`mnist_cli.training.loop` takes steps one by one, :mod:`mnist_cli.training.graphed` captures
them in a CUDA graph.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from mnist_cli.config.names import is_own_network
from mnist_cli.data.loader import Loader
from mnist_cli.devices.device import rate_dtype
from mnist_cli.errors import NonFiniteError
from mnist_cli.networks import ensemble
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.training.averaging import average
from mnist_cli.training.guard import build_guard, where_it_began
from mnist_cli.training.norms import measure, trained
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.ranks import Forward
from mnist_cli.training.state import TrainState


class Stepper:
    """One optimisation step: forward, backward, guard, clip, update, average, account.

    Of an ensemble each member's step is the one that it would take alone; what is judged and
    accounted is the members' mean. Several ranks take one step together, each with its part of
    the batch; what is judged and accounted is the whole batch's.
    """

    def __init__(self, state: TrainState, schedule: LearningRate) -> None:
        self.state = state
        self.schedule = replace(schedule, single=rate_dtype(state.device) == torch.float32)
        # Of the last step, which an epoch reports even if it was resumed after its last batch.
        self.lr = state.config.lr * schedule.factor(state.step - 1) if state.step else 0.0
        self.foreach = state.device.type != "mps"  # torch has no such kernels there
        self.parameters = list(trained(state.model).values())
        # At an epoch's end a schedule has often gone to where steps change next to nothing.
        self.measured_batch = schedule.steps_per_epoch // 2
        self.log_probabilities = bool(getattr(state.model, "log_probabilities", False))
        self.members = state.model.size if isinstance(state.model, Ensemble) else 1
        self.ranks = state.ranks
        self.own = is_own_network(state.config.model)
        self.forward: Forward = (
            torch.compile(state.model)
            if state.config.compile
            else self.ranks.forward(state.model, own=self.own)
        )

    def twin(self) -> Stepper:
        """The same step on a copy of everything that a step changes, generators apart."""
        state = copy.deepcopy(self.state)
        state.guard = build_guard(state.device, state.optimizers, state.scaler)
        return Stepper(state, self.schedule)

    def epoch(self, loader: Loader) -> Iterator[None]:
        """Take the batches that are left of the state's epoch, yielding after each."""
        for images, labels in loader.epoch(self.state.epoch, self.state.batch):
            self(images, labels, loader.count(self.state.batch))
            yield

    def __call__(self, images: Tensor, labels: Tensor, total: int) -> None:
        """Train on images (B, 1, H, W), normalised, and labels (B,): this rank's of ``total``."""
        state = self.state
        self.lr = self.schedule.apply(state.optimizers, state.config.lr, state.step)
        self.ranks.seed(state.config.seed, state.step)
        with self.measured():
            self.compute(images, labels, state.step, total)
        self.count(1, total)

    @contextmanager
    def measured(self, gradients: Sequence[Tensor | None] | None = None) -> Iterator[None]:
        """Measure the step taken inside, if it is the epoch's middle one, without waiting.

        Args:
            gradients: the gradients of the step, with the shapes of the parameters; None stands for
                those that autograd leaves in ``.grad``.
        """
        if self.state.batch != self.measured_batch:
            yield
            return
        before = [p.detach().clone() for p in self.parameters]
        yield
        given = self.gradients() if gradients is None else gradients
        self.state.running.norms = measure(before, given, self.parameters, members=self.members)

    def compute(self, images: Tensor, labels: Tensor, step: int | Tensor, total: int) -> None:
        """What the device does in a step; nothing on the host changes with it.

        ``step`` counts from 0 over the run: a tensor () on the device where it is captured.
        ``total`` is how many images the batch has on all ranks.
        """
        state, ranks = self.state, self.ranks
        with state.precision.autocast():
            scores = self.forward(images)
        loss_of = models.loss if self.members == 1 else ensemble.loss
        loss = loss_of(
            scores,
            labels,
            log_probabilities=self.log_probabilities,
            smoothing=state.config.label_smoothing,
        )
        norms = self._backward(ranks.weigh(loss, scores, total))
        if self.own:
            ranks.unite(state.model)
        with torch.no_grad():
            correct = (scores.argmax(-1) == labels).sum()
            loss, correct = ranks.pool(loss.detach(), correct, len(labels), total)
        mean_loss, mean_norm = self._mean(loss), self._mean(norms)
        self._judge(step, mean_loss, mean_norm, images)
        self._update(norms)
        with torch.no_grad():
            state.running.add(mean_loss, self._mean(correct), mean_norm, total)

    def _mean(self, figures: Tensor) -> Tensor:
        """The members' mean () of a sum () over them, or of figures (N,) of each."""
        return figures if self.members == 1 else figures.sum() / self.members

    def count(self, steps: int, images: int) -> None:
        """Count steps that the device has done, or will have done, on so many images in all."""
        state = self.state
        state.batch += steps
        state.step += steps
        state.running.count(steps, images)
        if state.ema is not None:
            state.ema.n_averaged += steps

    def _backward(self, loss: Tensor) -> Tensor:
        """Fill the gradients; return their 2-norm () or, of an ensemble, its members' (N,).

        Without the scale of fp16's scaler.
        """
        state = self.state
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        if state.scaler.is_enabled():
            for optimizer in state.optimizers:
                state.scaler.unscale_(optimizer)
        gradients = self._present_gradients()
        if self.members > 1:
            return ensemble.gradient_norms(gradients)
        return torch.nn.utils.get_total_norm(gradients, foreach=self.foreach)

    def gradients(self) -> list[Tensor | None]:
        """The gradient of each parameter, with its shape, of the last step taken or captured."""
        return [p.grad for p in self.parameters]

    def _present_gradients(self) -> list[Tensor]:
        return [gradient for gradient in self.gradients() if gradient is not None]

    def _judge(self, step: int | Tensor, loss: Tensor, grad_norm: Tensor, images: Tensor) -> None:
        try:
            self.state.guard.before_step(step, loss, grad_norm)
        except NonFiniteError as error:
            add_origin(error, self.state, images)
            raise

    def _clip(self, norms: Tensor) -> None:
        highest = self.state.config.clip_norm
        if self.members > 1:
            ensemble.clip_gradients(self._present_gradients(), highest, norms)
        else:
            torch.nn.utils.clip_grads_with_norm_(
                self.parameters, highest, norms, foreach=self.foreach
            )

    def _update(self, norms: Tensor) -> None:
        state = self.state
        if state.config.clip_norm:
            self._clip(norms)
        for optimizer in state.optimizers:
            state.scaler.step(optimizer)
        state.scaler.update()
        if state.ema is not None:
            average(state.ema, state.model, first=state.step == 0)


def add_origin(error: NonFiniteError, state: TrainState, images: Tensor) -> None:
    """Append to the error's message the first module with a non-finite value.

    Runs the forward pass again on these images.

    Args:
        error: the error whose message grows.
        state: the run, with the weights that met the batch.
        images: the batch (B, 1, H, W), normalised.
    """
    with state.precision.autocast():
        error.message += f"; {where_it_began(state.model, images, state.ranks)}"
