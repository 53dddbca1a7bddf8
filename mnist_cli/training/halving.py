"""Computing the two halves of each batch at the same time, each in a thread of its own.

Two threads that meet once per step wait less for each other than two that share each operation.
Gradients are those of the whole batch. Batch norm normalises each half by its own mean and variance,
as it does on each device of several; its running figures get the mean of both.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mnist_cli.base.cores import usable_cores
from mnist_cli.base.pair import Pair
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import UsageError
from mnist_cli.networks import registry


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
    return Pair(parallel=min(_threads(config), usable_cores()) > 1)


def threads_of_each(config: TrainConfig, pair: Pair | None) -> int:
    """The threads that compute one operation; 0 is torch's choice."""
    if pair is None:
        return config.threads
    return max(1, _threads(config) // 2)


def _threads(config: TrainConfig) -> int:
    return config.threads or torch.get_num_threads()


def threads_in_all(config: TrainConfig, pair: Pair | None) -> int:
    """The threads that compute at the same time; 0 is torch's choice."""
    each = threads_of_each(config, pair)
    return 2 * each if pair is not None and pair.parallel else each


class Shadow:
    """A network with the parameters of another one and buffers of its own, to train beside it.

    Args:
        model: the other network.
    """

    def __init__(self, model: nn.Module) -> None:
        shared = {id(parameter): parameter for parameter in model.parameters()}
        self.model = copy.deepcopy(model, shared)
        self._pairs = list(zip(_running(self.model), _running(model), strict=True))

    @torch.no_grad()
    def begin(self) -> None:
        """Before a step: take the original's running figures."""
        for mine, original in self._pairs:
            mine.copy_(original)

    @torch.no_grad()
    def end(self) -> None:
        """After both have computed: give the original the mean of both running figures."""
        for mine, original in self._pairs:
            original.lerp_(mine, 0.5)


def _running(model: nn.Module) -> Iterator[Tensor]:
    """The running means and variances of batch norm, (channels,) each."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for figures in (module.running_mean, module.running_var):
                if figures is not None:
                    yield figures
