"""Follows a run that a call trains: Python warnings, and a bar in a terminal or a notebook."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from mnist_cli.api import markup
from mnist_cli.api.cautions import caution
from mnist_cli.report import console
from mnist_cli.report.console import percent
from mnist_cli.report.training import TrainingReport, epoch_line, run_notes, run_warnings
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.loop import StepResult
    from mnist_cli.training.session import Session

UPDATES_PER_SECOND = 5
MOST_LINES = 12


class Companion(Observer):
    """Keeps the session; gives a Python warning if it does not learn."""

    session: Session | None = None

    def following(self, session: Session) -> AbstractContextManager[object]:
        """Keep the session."""
        self.session = session
        for message in run_warnings(session):
            caution(message)
        return nullcontext()

    def warn(self, message: str) -> None:
        """Warn."""
        caution(message)


def progress_shown(wanted: bool) -> Observer:
    """What shows the progress: nothing, a bar in a terminal, or one in a notebook."""
    if not wanted:
        return Observer()
    if in_notebook():
        return NotebookProgress()
    # Without a console, stderr is None or closed. A replacement may have nothing but write().
    closed = getattr(sys.stderr, "closed", False)
    return TerminalProgress() if hasattr(sys.stderr, "isatty") and not closed else Observer()


def in_notebook() -> bool:
    """Whether this process is a notebook kernel, which can show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class TerminalProgress(TrainingReport):
    """The bar of ``mnist train``, or a line per epoch, on stderr."""

    def __init__(self) -> None:
        super().__init__(silent=False, out=console.stderr())

    def warn(self, message: str) -> None:
        """Leave it to the :class:`Companion`."""


class NotebookProgress(Observer):
    """A bar below the cell, with the last epochs. Needs no widgets, so it is kept in the file."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._now = ""
        self._done = 0.0
        self._handle: Any = None
        self._next_update = 0.0

    def note(self, message: str) -> None:
        """Add a line."""
        self._lines.append(message)
        self._show()

    def following(self, session: Session) -> AbstractContextManager[object]:
        """Show the data set and the network."""
        for message in run_notes(session):
            self.note(message)
        return nullcontext()

    def step(self, session: Session, step: StepResult) -> None:
        """Update the bar, now and then: reading the means waits for the device."""
        if monotonic() < self._next_update:
            return
        self._next_update = monotonic() + 1 / UPDATES_PER_SECOND
        means, epochs = session.state.running.means(), session.config.epochs
        self._done = (step.epoch - 1 + step.batch / step.batches) / epochs
        self._now = (
            f"epoch {step.epoch}/{epochs}, loss {means['loss']:.3f}, "
            f"accuracy {percent(means['accuracy'])}"
        )
        self._show()

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Add the epoch's line."""
        self._done = result.epoch / session.config.epochs
        self._now = f"epoch {result.epoch}/{session.config.epochs}"
        self.note(epoch_line(result, session.config.epochs))
        return False

    def finished(self, session: Session) -> None:
        """Show the whole bar, also of a run that has stopped early."""
        self._done, self._now = 1.0, "done"
        self._show()

    def _show(self) -> None:
        display = import_module("IPython.display").display
        if self._handle is None:
            self._handle = display(self._bundle(), raw=True, display_id=True)
        else:
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        shown = self._lines[-MOST_LINES:]
        lines = "<br>".join(map(markup.escaped, shown))
        return {
            "text/plain": markup.lines_of(*shown, self._now),
            "text/html": f'<progress value="{self._done:.4f}" max="1"></progress> '
            f"{markup.escaped(self._now)}<br><small>{lines}</small>",
        }
