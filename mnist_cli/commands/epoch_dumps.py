"""``mnist train --dump-grad 1,5,last``: the gradients of one fixed batch during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_cli.errors import UsageError
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.session import Session


@dataclass(frozen=True)
class EpochDumps(Observer):
    """Writes a gradient dump after the chosen epochs."""

    epochs: frozenset[int] = frozenset()
    last: bool = False

    @classmethod
    def parse(cls, text: str | None) -> EpochDumps:
        """Read ``1,5,last``.

        Raises:
            UsageError: something that is neither an epoch, counted from 1, nor ``last``.
        """
        words = [word.strip().lower() for word in (text or "").split(",") if word.strip()]
        for word in words:
            if word != "last" and not (word.isdecimal() and int(word) > 0):
                raise UsageError(
                    f"--dump-grad {text}: '{word}' is not an epoch",
                    "Give epochs counted from 1, or last: --dump-grad 1,5,last.",
                )
        epochs = frozenset(int(word) for word in words if word != "last")
        return cls(epochs, "last" in words)

    def check(self, epochs: int, done: int = 0) -> None:
        """Refuse epochs that the run does not have, or has trained already.

        A run has ``epochs`` epochs in all, of which ``done`` are trained before it continues.

        Raises:
            UsageError: names the epoch.
        """
        beyond = [one for one in self.epochs if one > epochs]
        if beyond:
            has = "1 epoch" if epochs == 1 else f"{epochs} epochs"
            raise UsageError(
                f"--dump-grad {max(beyond)}: the run has {has}",
                f"Give epochs up to {epochs}, or last.",
            )
        before = [one for one in self.epochs if one <= done]
        if before:
            raise UsageError(
                f"--dump-grad {min(before)}: the run has already trained that epoch",
                f"It continues with epoch {done + 1}." if done < epochs else "It is complete.",
            )

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Check the epochs of the run, and say which were not reached.

        Raises:
            UsageError: see :meth:`check`.
        """
        from mnist_cli.report.console import warn

        self.check(session.config.epochs, session.state.epoch)
        if self.last and session.state.finished:
            raise UsageError("--dump-grad last: the run is complete", "Omit --dump-grad.")
        yield
        missed = sorted(one for one in self.epochs if one > len(session.state.history))
        if missed and session.state.finished:
            named = ", ".join(map(str, missed))
            warn(f"--dump-grad {named}: nothing was dumped, since the run stopped earlier")

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Write the dump if this epoch was chosen; never ends the run."""
        if result.epoch in self.epochs or (self.last and session.state.finished):
            from mnist_cli.gradients.epoch_dump import write_epoch_dump

            write_epoch_dump(session, result.epoch)
        return False
