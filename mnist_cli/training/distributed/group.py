"""Ranks at work together: torch.distributed over gloo on CPUs, and NCCL too on GPUs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from mnist_cli.base.process import leave_at_end, stdout_discarded
from mnist_cli.base.seeding import derive
from mnist_cli.devices.device import resolve_device
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import DeviceError, RankError, RankTimeout, first_line
from mnist_cli.gpu.probe import cuda_count
from mnist_cli.training.distributed.interfaces import choose_network
from mnist_cli.training.distributed.norm import own_buffers, synchronised
from mnist_cli.training.distributed.rank_environment import RankPlace
from mnist_cli.training.ranks import Forward, Ranks

# DDP need not send buffers: each rank computes the same ones for batch norm, and unite() sends the
# rest. torch renamed the setting in 2.14.
_SETTINGS = signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: dict[str, Any] = {
    next(name for name in ("forward_sync_buffers", "broadcast_buffers") if name in _SETTINGS): False
}


@dataclass(frozen=True)
class Group(Ranks):
    """Several ranks. All must call the same methods in the same order."""

    parent: int = 0

    def forward(self, model: nn.Module, *, own: bool = False) -> Forward:
        """See :meth:`Ranks.forward`."""
        index = next(model.parameters()).device.index
        here = None if index is None else [index]
        shared = DistributedDataParallel(
            synchronised(model), device_ids=here, find_unused_parameters=own, **_KEEP_BUFFERS
        )
        return cast(Forward, shared)

    def unite(self, model: nn.Module) -> None:
        """See :meth:`Ranks.unite`."""
        for buffer in own_buffers(model):
            same = buffer.detach().contiguous()
            dist.broadcast(same, 0)
            buffer.detach().copy_(same)

    def seed(self, seed: int, step: int) -> None:
        """See :meth:`Ranks.seed`: in each step, so that a checkpoint needs no rank's generators."""
        torch.manual_seed(derive(seed, "rank", step, self.rank))

    def weigh(self, loss: Tensor, scores: Tensor, total: int) -> Tensor:
        """See :meth:`Ranks.weigh`: if a batch is divided unevenly, larger parts weigh more."""
        images = len(scores)
        if not images:  # the mean of none is NaN
            return scores.sum()
        share = images * self.size
        return loss if share == total else loss * (share / total)

    def pool(self, loss: Tensor, correct: Tensor, images: int, total: int) -> tuple[Tensor, Tensor]:
        """See :meth:`Ranks.pool`; all tensors have the shape ()."""
        summed = loss.double() * images if images else loss.new_zeros((), dtype=torch.float64)
        figures = self.add(torch.stack([summed, correct.double()]))
        return figures[0] / total, figures[1]

    def add(self, tensor: Tensor) -> Tensor:
        """See :meth:`Ranks.add`; a tensor of any shape, the same on all ranks."""
        dist.all_reduce(tensor)
        return tensor

    def agree(self, signal_: int) -> int:
        """See :meth:`Ranks.agree`; the end of the process that started the ranks counts as SIGTERM."""
        if self.parent and os.getppid() != self.parent:
            signal_ = signal.SIGTERM
        return _extreme(signal_, dist.ReduceOp.MAX)

    def earliest(self, name: str, names: Sequence[str]) -> str:
        """See :meth:`Ranks.earliest`."""
        position = names.index(name) if name else len(names)
        return [*names, ""][_extreme(position, dist.ReduceOp.MIN)]

    def share(self, payload: bytes = b"") -> bytes:
        """See :meth:`Ranks.share`.

        Raises:
            RankError: rank 0 runs another program.
        """
        size = torch.tensor([len(payload)])
        dist.broadcast(size, 0)
        data = payload if self.leads else bytes(int(size))
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else size[:0]
        if len(content):
            dist.broadcast(content, 0)
        return content.numpy().tobytes()


def _extreme(number: int, operation: dist.ReduceOp.RedOpType) -> int:
    figure = torch.tensor([number])
    dist.all_reduce(figure, operation)
    return int(figure)


def device_of(name: str, place: RankPlace) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means for a rank: a GPU each, or the CPU.

    Raises:
        DeviceError: the device is not available, or not for this number of ranks.
    """
    if name == "mps" or ":" in name:
        raise DeviceError(
            f"device {name} is one device, but the run has {place.size} ranks",
            "Use device cuda, which gives each rank a GPU of its own, or cpu.",
        )
    count = cuda_count()
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    if not count:
        return resolve_device("cuda")  # raises with the cause
    if place.local_size > count:
        raise DeviceError(
            f"{place.local_size} ranks on this machine share {count} "
            f"{'GPU' if count == 1 else 'GPUs'}, but NCCL needs one for each rank",
            f"Start {count} ranks here, or use device cpu.",
        )
    device = resolve_device(f"cuda:{place.local_rank}")
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def joined(place: RankPlace, seconds: float) -> Iterator[Group]:
    """Connect to the other ranks while the context lasts.

    No rank waits at its end: the leading rank finishes alone, however long it takes.

    Args:
        place: which rank this one is.
        seconds: how long to wait for another rank, when connecting and at any later time.

    Raises:
        RankError: the others do not connect, or one is lost.
    """
    leave_at_end()
    with explained(place.rank, place.size):
        choose_network(place)
        _meet(place, timedelta(seconds=seconds))
        yield Group(place.rank, place.size, place.parent)
        if torch.cuda.is_initialized():  # another rank may still wait for the last data
            torch.cuda.synchronize()
        dist.destroy_process_group()


def _meet(place: RankPlace, patience: timedelta) -> None:
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
    try:
        store = _store(place, patience)
        store.set_timeout(patience)
        with stdout_discarded():  # gloo of torch 2.10 announces itself there
            dist.init_process_group(
                backend, store=store, rank=place.rank, world_size=place.size, timeout=patience
            )
    except (RuntimeError, OSError) as error:
        raise RankError(
            f"rank {place.rank} of {place.size} did not reach the others at {place.address} within "
            f"{patience.total_seconds():g} s: {_first_line(error)}",
            "Check that all ranks are running and can reach that address and each other. Name the "
            "network to use in GLOO_SOCKET_IFNAME, or set a longer timeout.",
        ) from error


def _store(place: RankPlace, patience: timedelta) -> Any:
    """Where the ranks find each other: our launcher's file, or the address from torchrun."""
    if place.folder:
        return dist.FileStore(place.address, place.size)  # type: ignore[attr-defined]
    return next(rendezvous("env://", timeout=patience))[0]


_SIGNS = ("closed by peer", "reset by peer", "Timed out", "timed out", "Broken pipe", "gloo/")


@contextlib.contextmanager
def explained(rank: int, size: int) -> Iterator[None]:
    """Raise :class:`RankError` for torch's errors about a rank that is gone."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        kind, why = RankError, "is gone"
        if "imed out" in str(error):
            kind, why = RankTimeout, "does not answer"
        raise kind(
            f"another rank {why} ({_first_line(error)}); rank {rank} of {size} cannot continue "
            "without it",
        ) from error


def _first_line(error: Exception) -> str:
    """The first sentence of torch's message, without the source location that it begins with."""
    line = first_line(error)
    line = line.partition("] ")[2] or line if line.startswith("[") else line
    return line.partition(". ")[0].rstrip(".")
