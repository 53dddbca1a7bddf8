"""One optimisation step, the same for every network, optimiser, precision and device.

:mod:`mnist_cli.training.loop` takes steps one by one; :mod:`mnist_cli.training.graphed` captures
them in a CUDA graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace

import torch
from torch import Tensor

from mnist_cli.base.seeding import derive
from mnist_cli.data.batches import Loader
from mnist_cli.devices.kinds import kind_of, rate_dtype
from mnist_cli.devices.memory import with_room_for_backward
from mnist_cli.errors import NonFiniteError
from mnist_cli.networks import ensemble
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.networks.global_state import seed_others
from mnist_cli.training.averaging import average, unaveraged
from mnist_cli.training.expected_errors import attributed
from mnist_cli.training.guard import build_guard, where_it_began
from mnist_cli.training.halving import Halves
from mnist_cli.training.norms import measure, trained
from mnist_cli.training.optim import LearningRate, begin_late
from mnist_cli.training.ranks import Forward
from mnist_cli.training.state import TrainState


class Stepper:
    """One optimisation step: forward, backward, guard, clip, update, average, account.

    Each member of an ensemble takes the step that it would take alone; the guard and the sums get
    the members' means. Several ranks take one step together, each with its part of the batch; the
    guard and the sums get the whole batch's figures.

    Attributes:
        careful: whether a forward pass first checks that the backward pass has enough memory.
    """

    def __init__(self, state: TrainState, schedule: LearningRate) -> None:
        self.state = state
        self.schedule = replace(schedule, single=rate_dtype(state.device) == torch.float32)
        # An epoch reports the rate of its last step, even in a run resumed after that step.
        self.lr = self.schedule.rate_on_device(state.step - 1) if state.step else 0.0
        self.foreach = kind_of(state.device).foreach
        self.names = list(trained(state.model))  # an own network's forward may freeze some later
        self.parameters = list(trained(state.model).values())
        # At an epoch's end many schedules have reached rates that change almost nothing.
        self.measured_batch = schedule.steps_per_epoch // 2
        self.log_probabilities = bool(getattr(state.model, "log_probabilities", False))
        self.members = state.model.size if isinstance(state.model, Ensemble) else 1
        self.ranks = state.ranks
        self.own = state.config.model.is_own
        self.copied = unaveraged(state.model) if self.own and state.ema else frozenset()
        self.halves = Halves(state.pair, state.model) if state.pair is not None else None
        self.careful = False
        self.forward: Forward = (
            torch.compile(state.model)
            if state.config.compile
            else self.ranks.forward(state.model, own=self.own)
        )

    def twin(self) -> Stepper:
        """The same step on a copy of everything that a step changes, except generators."""
        state = copy.deepcopy(self.state)
        state.guard = build_guard(state.device, state.optimizers, state.scaler)
        return Stepper(state, self.schedule)

    def epoch(self, loader: Loader) -> Iterator[None]:
        """Take the remaining batches of the state's epoch, and yield after each."""
        for images, labels in loader.epoch(self.state.epoch, self.state.batch):
            self(images, labels, loader.count(self.state.batch))
            yield

    def __call__(self, images: Tensor, labels: Tensor, total: int) -> None:
        """Train on this rank's normalised images (B, 1, H, W) and labels (B,), of ``total``."""
        state = self.state
        self.lr = self.schedule.apply(state.optimizers, state.step)
        self.ranks.seed(state.config.seed, state.step)
        if self.own:  # its forward may use them, and a run must be repeatable
            seed_others(derive(state.config.seed, "others", state.step))
        with self.measured():
            self.compute(images, labels, state.step, total)
        self.count(1, total)

    @contextmanager
    def measured(self, gradients: Sequence[Tensor | None] | None = None) -> Iterator[None]:
        """Measure the step in the block if it is the epoch's middle step; does not wait.

        ``gradients`` hold that step's gradients; by default, the parameters' ``grad`` do.
        """
        if self.state.batch != self.measured_batch:
            yield
            return
        before = [p.detach().clone() for p in self.parameters]
        yield
        used = self.gradients() if gradients is None else gradients
        self.state.running.norms = measure(before, used, self.parameters, members=self.members)

    def compute(self, images: Tensor, labels: Tensor, step: int | Tensor, total: int) -> None:
        """Do a step on the device; nothing on the host changes.

        Args:
            images: this rank's part (B, 1, H, W), float32, normalised.
            labels: their classes (B,), int64.
            step: counts from 0 over the run; in a captured step, a tensor () on the device.
            total: number of images in the batch on all ranks.

        Raises:
            NonFiniteError: the loss or the gradient is not finite, and the guard reads it now.
        """
        state, ranks = self.state, self.ranks
        count, results = len(labels), list[tuple[Tensor, Tensor, Tensor]]()
        if self.halves is not None and count > 1:
            self._forget_gradients()
            results += self.halves.both(
                count,
                lambda model, half: self._learn(
                    images[half], labels[half], count, total, first=False, forward=model
                ),
            )
        else:
            parts = self._parts(images, labels)
            results += (self._learn(*part, count, total, first=part is parts[0]) for part in parts)
        loss, plain, correct = results[0]
        if len(results) > 1:
            loss, plain, correct = (torch.stack(x).sum(0) for x in zip(*results, strict=True))
        with self._blaming("fails in the backward pass", self._alone):
            norms = self._gradient_norms()
        if self.own:
            ranks.unite(state.model)
        with torch.no_grad():
            smoothed = plain is not loss
            if smoothed:
                plain, _ = ranks.pool(plain, correct, len(labels), total)
            loss, correct = ranks.pool(loss, correct, len(labels), total)
        mean_loss, mean_norm = self._mean(loss), self._mean(norms)
        self._judge(step, mean_loss, mean_norm, images)
        self._update(norms)
        with torch.no_grad():
            summed = mean_loss * total
            state.running.add(
                loss=summed,
                accuracy=self._mean(correct),
                grad_norm=mean_norm,
                plain_loss=self._mean(plain) * total if smoothed else summed,
            )

    def _parts(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A step's batches, each of ``batch_size`` images except the last."""
        config = self.state.config
        if config.accumulate == 1:
            return [(images, labels)]
        size = config.batch_size
        return list(zip(images.split(size), labels.split(size), strict=True))

    def _learn(
        self,
        images: Tensor,
        labels: Tensor,
        count: int,
        total: int,
        *,
        first: bool,
        forward: Forward | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of some of a step's images to the gradients of the parameters.

        Args:
            images: (B, 1, H, W), normalised.
            labels: (B,), int64.
            count: number of the step's images on this rank: gradients are those of their mean loss.
            total: number of the step's images on all ranks.
            first: whether these images are the step's first: earlier gradients are cleared.
            forward: the network to compute with; None is the network that trains.

        Returns:
            Three tensors (): the loss, the loss without label smoothing (the same tensor if there
            is none), and the number of correct answers. Losses are weighted by B / count.
        """
        state, forward = self.state, forward or self.forward
        if self.careful:
            forward = with_room_for_backward(forward)
        with state.precision.autocast(), self._blaming("fails in a training step", self._alone):
            scores = forward(images)
        loss = self._loss(scores, labels, state.config.label_smoothing)
        whole = len(labels) == count
        loss = loss if whole else loss * (len(labels) / count)
        with self._blaming("fails in the backward pass", self._alone):
            self._backward(self.ranks.weigh(loss, scores, total), first=first)
        with torch.no_grad():
            loss = plain = loss.detach()
            if state.config.label_smoothing:
                plain = self._loss(scores.detach(), labels, 0.0)
                plain = plain if whole else plain * (len(labels) / count)
            return loss, plain, (scores.argmax(-1) == labels).sum()

    def _loss(self, scores: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        loss_of = models.loss if self.members == 1 else ensemble.loss
        return loss_of(
            scores, labels, log_probabilities=self.log_probabilities, smoothing=smoothing
        )

    def _mean(self, figures: Tensor) -> Tensor:
        """The mean () over the members, from their sum () or from one figure for each (N,)."""
        return figures if self.members == 1 else figures.sum() / self.members

    def count(self, steps: int, images: int) -> None:
        """Count steps that the device has done or will do, and the total number of their images."""
        state = self.state
        state.batch += steps
        state.step += steps
        state.running.count(steps, images)
        if state.ema is not None:
            state.ema.n_averaged += steps

    def _backward(self, loss: Tensor, *, first: bool) -> None:
        """Add to the gradients; the ``first`` time in a step, clear earlier ones."""
        if first:
            self._forget_gradients()
        self.state.scaler.scale(loss).backward()

    def _forget_gradients(self) -> None:
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:  # zero_grad() takes ten times as long
                    parameter.grad = None

    def _gradient_norms(self) -> Tensor:
        """The gradient's 2-norm (); for an ensemble, one for each member (N,).

        First removes the scale of fp16's scaler from the gradients.
        """
        state = self.state
        if state.scaler.is_enabled():
            for optimizer in state.optimizers:
                state.scaler.unscale_(optimizer)
        gradients = self._present_gradients()
        if self.members > 1:
            return ensemble.gradient_norms(gradients)
        with self._blaming("has gradients without a norm", self._trainable):
            return torch.nn.utils.get_total_norm(gradients, foreach=self.foreach)

    def gradients(self) -> list[Tensor | None]:
        """Each parameter's gradient after the last step taken or captured; None if it has none."""
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
            with self._blaming(
                "has gradients that cannot be clipped", lambda: "Set clip_norm = 0."
            ):
                self._clip(norms)
        with self._blaming(
            f"cannot be trained with the optimiser {state.config.optimizer}", self._trainable
        ):
            for optimizer in state.optimizers:
                if self.own:  # its forward may omit a layer
                    begin_late(optimizer)
                state.scaler.step(optimizer)
            state.scaler.update()
        if state.ema is not None:
            with self._blaming("has weights that cannot be averaged", lambda: "Set ema = 0."):
                average(state.ema, state.model, first=state.step == 0, copied=self.copied)

    def _blaming(self, doing: str, hint: Callable[[], str]) -> AbstractContextManager[None]:
        """Attribute torch's errors in the block to the user's own network."""
        if not self.own:
            return nullcontext()
        return attributed(self.state.config.model.label, doing, hint)

    def _alone(self) -> str:
        return "Train a single network (ensemble = 1)." if self.members > 1 else ""

    def _trainable(self) -> str:
        if any(gradient.layout != torch.strided for gradient in self._present_gradients()):
            return "Its gradients are sparse: build its embedding with sparse=False."
        return "Choose another optimiser, or give all weights the same real dtype."


def add_origin(error: NonFiniteError, state: TrainState, images: Tensor) -> None:
    """Append to the error's message the first module with a non-finite value.

    Runs the forward pass again on these images.

    Args:
        error: the error, whose message is extended.
        state: the run, with the weights before the failed step.
        images: the batch (B, 1, H, W), normalised.
    """
    with state.precision.autocast():
        error.message += f"; {where_it_began(state.model, images, state.ranks)}"


def rehearse_step(state: TrainState, schedule: LearningRate, size: int) -> None:
    """Use the memory of a step on ``size`` images, with a copy of everything that it changes."""
    device = state.device
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    stepper = Stepper(state, schedule).twin()
    stepper.careful = device.type == "cpu"
    images = torch.zeros(size, 1, 28, 28, device=device)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    with suppress(NonFiniteError):
        stepper(images, labels, size)
