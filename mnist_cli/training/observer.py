"""Observers: the program's own reports follow a run with them, and see the session itself.

Users write a :class:`mnist_cli.training.callback.Callback`, which gets plain values. One observer,
:class:`mnist_cli.training.calling.Calls`, calls all callbacks of a run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.loop import StepResult
    from mnist_cli.training.session import Session


class Observer:
    """Follows a run, for example to show it. Training itself prints nothing."""

    def note(self, message: str) -> None:
        """Receive a message; those not to be missed are :class:`~mnist_cli.errors.Caution`."""

    def warn(self, message: str) -> None:
        """Receive a sign that the run does not learn."""

    def following(self, session: Session) -> AbstractContextManager[object]:
        """A context that lasts as long as the session trains."""
        return nullcontext()

    def step(self, session: Session, step: StepResult) -> None:
        """Called after each step, or after the steps of one replayed graph."""

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Called after each epoch, once it is saved; to end the run here, return True."""
        return False

    def finished(self, session: Session) -> None:
        """Called once the test set has been read and the summary written."""
