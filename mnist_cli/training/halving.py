"""Computes the two halves of each batch at the same time, each in its own thread.

Two threads that meet once per step wait less for each other than two that share each operation.
Gradients are those of the whole batch. Batch norm normalises each half by its own mean and variance,
as on each of several devices. Its running statistics get the mean of both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from mnist_cli.base.cores import usable_cores
from mnist_cli.base.pair import Pair
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import UsageError
from mnist_cli.networks import registry

T = TypeVar("T")


def obstacle(config: TrainConfig, device: torch.device, ranks: int = 1) -> str:
    """Why a run does not compute the halves of its batches; empty if it can."""
    if device.type != "cpu":
        return f"the device is {device.type}"
    if not registry.is_divisible(config.model):
        return f"the network {config.model.label} may draw random numbers, whose order would change"
    if ranks > 1:
        return f"{ranks} ranks already divide each batch"
    if config.ensemble > 1:
        return "an ensemble computes its members one by one"
    if config.accumulate > 1:
        return "accumulate divides each step into batches"
    if config.compile:
        return "compile = true compiles the network for one thread"
    return ""


def pair_of(config: TrainConfig, device: torch.device, ranks: int = 1) -> Pair | None:
    """The two threads of this run; None if it computes whole batches.

    With one thread or one core the halves are computed one after the other, to the same bits.

    Raises:
        UsageError: ``halves = true``, and it is not possible; with the reason.
    """
    why_not = obstacle(config, device, ranks) if config.halves else "it is off"
    if config.halves is True and why_not:
        raise UsageError(
            f"the halves of a batch cannot be computed at the same time: {why_not}",
            "Set halves to auto, which does so wherever that is possible, or to false.",
        )
    if why_not:
        return None
    threads = config.threads or torch.get_num_threads()  # read now: a run changes it
    return Pair(parallel=min(threads, usable_cores()) > 1, threads=threads)


def threads_of_each(config: TrainConfig, pair: Pair | None) -> int:
    """Number of threads that compute one operation; 0 leaves the choice to torch."""
    return config.threads if pair is None else max(1, pair.threads // 2)


def threads_in_all(config: TrainConfig, pair: Pair | None) -> int:
    """Number of threads that compute at the same time; 0 leaves the choice to torch."""
    each = threads_of_each(config, pair)
    return 2 * each if pair is not None and pair.parallel else each


class Halves:
    """Computes with a network on both halves of a batch.

    The second thread has its own network, which shares the parameters but not the buffers.
    """

    def __init__(self, pair: Pair, model: nn.Module) -> None:
        self._pair = pair
        self._model = model
        shared = {id(parameter): parameter for parameter in model.parameters()}
        self._second = copy.deepcopy(model, shared).train()
        self._running = list(zip(_running(model), _running(self._second), strict=True))

    def both(self, count: int, compute: Callable[[nn.Module, slice], T]) -> tuple[T, T]:
        """Compute with a network on each half of ``count`` images, given as a slice.

        Both add their gradients to the same parameters. Either may be first: the sum of two
        numbers has the same bits in both orders.
        """
        cut = (count + 1) // 2
        with torch.no_grad():
            for original, other in self._running:
                other.copy_(original)
        results = self._pair.both(
            lambda: compute(self._model, slice(0, cut)),
            lambda: compute(self._second, slice(cut, count)),
        )
        with torch.no_grad():
            for original, other in self._running:
                original.lerp_(other, 0.5)
        return results


def _running(model: nn.Module) -> Iterator[Tensor]:
    """The running means and variances of batch norm, (channels,) each."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for figures in (module.running_mean, module.running_var):
                if figures is not None:
                    yield figures
