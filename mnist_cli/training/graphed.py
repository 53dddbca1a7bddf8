"""Training steps captured in a CUDA graph and replayed: the GPU need not wait for Python.

Launching the kernels of a small network's step one by one takes longer than running them. A graph
holds the kernels of many steps and is launched once. It runs no Python, so whatever changes from
step to step lies on the device: the epoch's order and learning rates, two counters, the weights.
The host counts in parallel, so that a run can stop after any replay, and resume with graphs or
without.

Some steps are taken one by one: the run's first, which creates the optimiser's state, and an
epoch's last if its batch is not full. An epoch's middle step is replayed alone, to be measured.

:class:`Capturer` is the only part that needs CUDA; the rest runs, and is tested, on any device.

Source: pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.batches import DeviceLoader
from mnist_cli.devices.device import Precision
from mnist_cli.devices.kinds import random_state_kept, rate_dtype
from mnist_cli.errors import Caution, UsageError, first_line
from mnist_cli.runs.results import MEANS
from mnist_cli.training.step import Stepper

STEPS = 8
"""Number of steps in the larger of two graphs; the other holds one step, for the remainder."""

SKIPS_BAD_STEPS = ("sgd", "adam", "adamw", "muon")
"""Optimisers that skip a step by a flag on the device, and read their learning rate there."""

Replay = Callable[[], None]


class Capturer(Protocol):
    """Turns the kernels that a function launches into something that can be replayed."""

    def rehearse(self, function: Callable[[], None]) -> None:
        """Run ``function`` where it will be captured, so that libraries initialise first."""
        ...

    def capture(self, function: Callable[[], None], generator: torch.Generator) -> Replay:
        """Capture ``function``, which draws from ``generator`` and torch's own; do not run it.

        Raises:
            UsageError: it cannot be captured.
        """
        ...


class CudaCapturer:
    """Captures on a separate stream of one CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def rehearse(self, function: Callable[[], None]) -> None:
        """See :meth:`Capturer.rehearse`: cuDNN times its algorithms, cuBLAS takes its workspace."""
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            function()
        main.wait_stream(self._stream)

    def capture(self, function: Callable[[], None], generator: torch.Generator) -> Replay:
        """See :meth:`Capturer.capture`.

        Raises:
            UsageError: CUDA refuses to capture an operation.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=self._stream):
                function()
        except RuntimeError as error:
            raise _refusal(error) from error
        return graph.replay


def _refusal(error: BaseException) -> BaseException:
    """The first error: ending a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, torch.OutOfMemoryError):
        return error
    return UsageError(
        f"a CUDA graph is not available: {first_line(error)}", "Set cuda_graph to false."
    )


def obstacle(
    config: TrainConfig, device: torch.device, precision: Precision, ranks: int = 1
) -> str:
    """Why the steps of this run cannot be captured; empty if they can."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if ranks > 1:
        return f"{ranks} ranks wait for each other's gradients"
    if config.loader != "device":
        return f"loader = {config.loader} makes its batches on the host"
    if config.compile:
        return "compile = true plans the launches itself"
    if precision.name == "fp16":
        return "the fp16 scaler checks on the host after each step whether gradients overflowed"
    if config.optimizer not in SKIPS_BAD_STEPS:
        return (
            f"optimizer = {config.optimizer} cannot skip a non-finite step on the GPU, only "
            f"{', '.join(SKIPS_BAD_STEPS)} can"
        )
    return ""


def captures(
    config: TrainConfig, device: torch.device, precision: Precision, ranks: int = 1
) -> bool:
    """Whether this run's steps are captured; ``auto`` means wherever that is possible.

    ``auto`` excludes the user's own network: a graph would freeze its decisions in Python.

    Raises:
        UsageError: ``cuda_graph = true``, and they cannot be captured; with the reason.
    """
    if config.cuda_graph == "auto" and config.model.is_own:
        return False
    why_not = obstacle(config, device, precision, ranks)
    if config.cuda_graph is True and why_not:
        raise UsageError(
            f"a CUDA graph is not available: {why_not}",
            "Set cuda_graph to auto, which captures steps wherever that is possible, or to false.",
        )
    return bool(config.cuda_graph) and not why_not


class Graphed:
    """Takes an epoch's steps by replaying captured ones, as many at a time as fit."""

    def __init__(self, stepper: Stepper, loader: DeviceLoader, capturer: Capturer) -> None:
        self._stepper = stepper
        self._capturer = capturer
        self._program = Program(stepper, loader)
        self._replays: dict[int, Replay] = {}
        self._gradients: dict[int, list[Tensor | None]] = {}
        self._rehearsed = False
        self._gave_up = False

    def epoch(self) -> Iterator[None]:
        """Take the remaining batches of the state's epoch; yield whenever the state is complete."""
        state, program = self._stepper.state, self._program
        if program.full and not self._rehearsed:
            with state.clock.paused():
                self._rehearse()
        program.begin(state.epoch, state.batch)
        while state.batch < program.batches:
            steps = self._fitting()
            replay = self._replay_of(steps) if steps else None
            if replay is None:
                program.step_by_hand()
            else:
                with self._stepper.measured(self._gradients[steps]):
                    replay()
                program.count(steps)
            yield

    def sums_after(self, batch: int) -> Tensor:
        """The epoch's sums (M,) after step ``batch``, one of the steps taken last."""
        return self._program.sums[batch - 1]

    def _fitting(self) -> int:
        """The number of steps to replay at once; 0 if the next step cannot be replayed.

        No replay goes beyond a step after which a checkpoint is due or the run ends. A replay of
        several steps excludes the measured step.
        """
        state, every = self._stepper.state, self._stepper.state.config.checkpoint_every
        if self._gave_up or state.step == 0:
            return 0
        to_checkpoint = every - state.step % every if every else math.inf
        to_measured = self._stepper.measured_batch - state.batch
        alone = math.inf if to_measured < 0 else max(to_measured, 1)
        most = state.config.max_steps
        to_limit = most - state.step if most else math.inf
        room = min(self._program.full - state.batch, to_checkpoint, to_limit, alone)
        return STEPS if room >= STEPS else min(1, int(max(room, 0)))

    def _replay_of(self, steps: int) -> Replay | None:
        """The graph of ``steps`` steps, captured when it is first needed; None if that fails."""
        if steps not in self._replays:
            state = self._stepper.state
            try:
                with state.clock.paused():
                    self._replays[steps] = self._capture(steps)
            except UsageError as error:
                if state.config.cuda_graph is True:
                    raise
                self._gave_up = True
                message = f"{error.message}; steps are taken one by one"
                warnings.warn(message, Caution, stacklevel=2)
                return None
        return self._replays[steps]

    def _capture(self, steps: int) -> Replay:
        program = self._program
        replay = self._capturer.capture(lambda: program.run(steps), program.generator)
        # They lie in the graph's memory, which is not reused while they are referenced.
        self._gradients[steps] = self._stepper.gradients()
        return replay

    def _rehearse(self) -> None:
        """Take steps with copies, by hand and as captured; the random generators do not change."""
        twin = Program(self._stepper.twin(), self._program.loader)
        generator, device = self._program.generator, self._stepper.state.device
        drawn = generator.get_state()
        with random_state_kept(device):
            self._capturer.rehearse(twin.rehearse)
        generator.set_state(drawn)
        self._rehearsed = True


class Program:
    """Steps whose inputs all lie on the device.

    ``order`` (batches, B), int64, and ``rates`` (batches,) belong to the epoch. ``batch`` (1,) and
    ``step`` (1,), int64, count the steps done in the epoch and in the run. ``sums`` (batches, M)
    are the epoch's sums after each step.
    """

    def __init__(self, stepper: Stepper, loader: DeviceLoader) -> None:
        device = stepper.state.device
        self.stepper = stepper
        self.loader = loader
        self.generator = loader.generator
        self.batches = loader.batches
        self.full = loader.images // loader.size
        self.order = torch.arange(self.full * loader.size, device=device).view(
            self.full, loader.size
        )
        self.rest = self.order.new_zeros(0)
        dtype = rate_dtype(device)
        self.rates = torch.zeros(self.full, dtype=dtype, device=device)
        self.rate = torch.zeros((), dtype=dtype, device=device)
        self.sums = stepper.state.running.sums.new_zeros(self.batches, len(MEANS))
        self.batch = torch.zeros(1, dtype=torch.int64, device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)

    def begin(self, epoch: int, start: int) -> None:
        """Copy an epoch's batches from ``start`` on, and their learning rates, to the device."""
        order, rows = self.loader.begin(epoch, start), max(self.full - start, 0)
        taken = rows * self.loader.size
        self.order[self.full - rows :].copy_(order[:taken].view(rows, self.loader.size))
        self.rest = order[taken:]
        state, schedule = self.stepper.state, self.stepper.schedule
        first = state.step - state.batch
        rates = [schedule.rate(first + i) for i in range(self.full)]
        self.rates.copy_(torch.tensor(rates, dtype=self.rates.dtype))
        self._locate()

    def _locate(self) -> None:
        self.batch.fill_(self.stepper.state.batch)
        self.step.fill_(self.stepper.state.step)

    def step_by_hand(self) -> None:
        """Take the next step without a graph."""
        batch = self.stepper.state.batch
        index = self.order[batch] if batch < self.full else self.rest
        self.stepper(*self.loader.gather(index), len(index))
        self.sums[batch].copy_(self.stepper.state.running.sums)
        self._locate()

    def run(self, steps: int) -> None:
        """Take the next steps without any exchange with the host: the function to capture."""
        optimizers = self.stepper.state.optimizers
        for _ in range(steps):
            index = self.order.index_select(0, self.batch).squeeze(0)
            self.rate.copy_(self.rates.index_select(0, self.batch).squeeze(0))
            images, labels = self.loader.gather(index)
            with _for_capture(optimizers, self.rate):
                self.stepper.compute(images, labels, self.step.squeeze(0), len(labels))
            self.sums.index_copy_(0, self.batch, self.stepper.state.running.sums[None])
            self.batch.add_(1)
            self.step.add_(1)

    def rehearse(self) -> None:
        """Take the first batch a few times, by hand and as captured; for a twin."""
        for take in (self.step_by_hand, lambda: self.run(1), lambda: self.run(1)):
            self.stepper.state.batch = 0
            self._locate()
            take()

    def count(self, steps: int) -> None:
        """Count on the host the steps that a replay takes on the device."""
        stepper, state = self.stepper, self.stepper.state
        stepper.count(steps, steps * self.loader.size)
        stepper.lr = stepper.schedule.apply(state.optimizers, state.step - 1)


@contextmanager
def _for_capture(optimizers: Sequence[Optimizer], rate: Tensor) -> Iterator[None]:
    """Let the optimisers read their learning rate from the device, and allow their capture.

    Their settings are restored at the end: a checkpoint holds the same settings as without graphs.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    settings: dict[str, object] = {"lr": rate, "capturable": True}
    saved = [{key: group[key] for key in settings if key in group} for group in groups]
    try:
        for group, before in zip(groups, saved, strict=True):
            group.update({key: settings[key] for key in before})
        yield
    finally:
        for group, before in zip(groups, saved, strict=True):
            group.update(before)
