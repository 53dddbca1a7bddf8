"""The interface of the processes that share a run, implemented for a single process.

:class:`mnist_cli.training.distributed.group.Group` implements it for several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mnist_cli.data.batches import Part

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ranks:
    """Rank ``rank`` of ``size`` processes that train one network; the default is a single process."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank writes and prints."""
        return self.rank == 0

    @property
    def part(self) -> Part:
        """The part of each batch that this rank trains on."""
        return Part(self.rank, self.size)

    def forward(self, model: nn.Module, *, own: bool = False) -> Forward:
        """The network to train: its gradients become the mean over the ranks.

        ``own`` marks the user's own network: its steps may leave parameters without a gradient.
        """
        return model

    def unite(self, model: nn.Module) -> None:
        """Copy the leading rank's values to buffers that each rank computes by itself."""

    def seed(self, seed: int, step: int) -> None:
        """Seed dropout differently on each rank."""

    def weigh(self, loss: Tensor, scores: Tensor, total: int) -> Tensor:
        """The loss () to differentiate, from the mean loss () over this part of ``total`` images.

        Its mean over the ranks is the whole batch's mean loss. ``scores`` (B, classes) belong to
        this part.
        """
        return loss

    def pool(self, loss: Tensor, correct: Tensor, images: int, total: int) -> tuple[Tensor, Tensor]:
        """The whole batch's mean loss () and correct answers (), from ``images`` on this rank."""
        return loss, correct

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over ranks of a tensor of any shape, in place; the same bits on each rank."""
        return tensor

    def agree(self, signal: int) -> int:
        """The signal that any rank has received; 0 if none has."""
        return signal

    def earliest(self, name: str, names: Sequence[str]) -> str:
        """Of the ``name`` of each rank, the first in order of ``names``; empty if all are empty."""
        return name

    def share(self, payload: bytes = b"") -> bytes:
        """The leading rank's ``payload``, on every rank."""
        return payload


HALT = 1000
"""Ranks agree on it as on a signal; it exceeds every signal. The leading rank ends the run."""

ALONE = Ranks()
"""The usual case: a single process."""
