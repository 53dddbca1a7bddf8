"""What training asks of the processes that share a run, and the answers where there is one.

:class:`mnist_cli.training.distributed.group.Group` answers where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from mnist_cli.data.loader import Part

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ranks:
    """Rank ``rank`` of ``size`` processes that train one network: by itself, the only one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    @property
    def part(self) -> Part:
        """The part of each batch that is trained on here."""
        return Part(self.rank, self.size)

    def forward(self, model: nn.Module, *, own: bool = False) -> Forward:
        """The network as it is trained: of several ranks, its gradients become their mean.

        ``own`` is one of the user's own, of which a step may leave parameters without a gradient.
        """
        return model

    def unite(self, model: nn.Module) -> None:
        """Make the buffers that ranks have computed by themselves the leading rank's."""

    def seed(self, seed: int, step: int) -> None:
        """Let dropout draw other units here than on other ranks."""

    def weigh(self, loss: Tensor, scores: Tensor, total: int) -> Tensor:
        """Of the mean loss () over this part of a batch of ``total``, what to differentiate.

        The mean of what the ranks differentiate is the whole batch's mean loss.
        """
        return loss

    def pool(self, loss: Tensor, correct: Tensor, images: int, total: int) -> tuple[Tensor, Tensor]:
        """The whole batch's mean loss () and correct answers (), from those of ``images`` here."""
        return loss, correct

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over ranks of a tensor of any shape, in place; the same bits on each rank."""
        return tensor

    def agree(self, signal: int) -> int:
        """The signal to stop by that any rank has received; 0 where none has."""
        return signal

    def earliest(self, name: str, names: Sequence[str]) -> str:
        """Whichever of the ranks' ``name`` comes first in ``names``; empty where all are."""
        return name

    def explained(self) -> AbstractContextManager[object]:
        """Errors about a rank that is gone, in our words."""
        return nullcontext()

    def share(self, payload: bytes = b"") -> bytes:
        """What the leading rank gives."""
        return payload


ALONE = Ranks()
"""The usual case: one process, which asks nobody."""
