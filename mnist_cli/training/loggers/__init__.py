"""Loggers: callbacks that send a run's metrics to other programs.

They send the configuration and the metrics, and neither data, weights nor code.
"""

from __future__ import annotations

import importlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_cli.base.files import atomic_write, is_regular
from mnist_cli.base.packages import require
from mnist_cli.config.choices import LOGGERS
from mnist_cli.errors import Caution, DependencyError, MnistError, OutputError, UsageError
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.run_summary import Summary


def logger(name: str) -> Callback:
    """A callback that logs with the package ``name``.

    If the package cannot log at the start, the run does not begin. If it fails later, it is turned
    off with a warning, and the run goes on.

    Args:
        name: one of :data:`~mnist_cli.config.choices.LOGGERS`.

    Raises:
        UsageError: no logger has that name.
        DependencyError: the package is not installed.
    """
    if name not in LOGGERS:
        raise UsageError(f"no logger is called {name!r:.40}", f"Loggers: {', '.join(LOGGERS)}.")
    require(name, f"the logger {name}")
    module = importlib.import_module(f"mnist_cli.training.loggers.to_{name}")
    return Guarded(name, getattr(module, f"{name.capitalize()}Logger")())


class Guarded(Callback):
    """Isolates a run from the failures of a logger once the run trains."""

    def __init__(self, name: str, inner: Callback) -> None:
        self.every = inner.every
        self._name = name
        self._inner = inner
        self._off = False

    def on_start(self, run: ObservedRun) -> None:
        """Begin to log.

        Raises:
            OutputError: the package cannot log.
            DependencyError: the package, or one that it needs, cannot be imported.
        """
        try:
            self._inner.on_start(run)
        except BaseException as error:
            self._off = True
            self._leave_nothing(run)
            if not isinstance(error, Exception) or isinstance(error, MnistError):
                raise
            if isinstance(error, ImportError):
                again = f"Install it again with: pip install --upgrade {self._name}"
                raise DependencyError(f"{self._name} cannot be imported: {error}", again) from error
            hint = f"{getattr(self._inner, 'way_out', 'Fix the cause')}, or train without it."
            raise OutputError(f"{self._name} cannot log the run: {_words(error)}", hint) from error

    def on_step(self, run: ObservedRun, progress: Progress) -> None:
        """Log the figures of steps."""
        self._try(lambda: self._inner.on_step(run, progress), f"at step {progress.step:,}")

    def on_epoch(self, run: ObservedRun, progress: Progress) -> None:
        """Log the figures of an epoch."""
        self._try(lambda: self._inner.on_epoch(run, progress), f"after epoch {progress.epoch}")

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        """Log the result, and close the log."""
        self._try(lambda: self._inner.on_end(run, summary), "at the end")

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        """Mark the logged run as failed, and close the log."""
        self._try(lambda: self._inner.on_error(run, error), "at the end")
        self._leave_nothing(run)  # another callback may have failed at the start

    def _leave_nothing(self, run: ObservedRun) -> None:
        """Remove the logger's files from the folder of a run that has not begun."""
        if not is_regular(run.path / "config.toml"):
            shutil.rmtree(run.path / self._name, ignore_errors=True)
            _id_file(run, self._name).unlink(missing_ok=True)

    def _try(self, log: Callable[[], Any], when: str) -> None:
        if self._off:
            return
        try:
            log()
        except Exception as error:
            self._off = True
            warnings.warn(
                f"{self._name} failed {when}: {_words(error)}; it is turned off, and the run goes on",
                Caution,
                stacklevel=2,
            )


def _words(error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) < 300 else f"{text[:300]}…"


def _id_file(run: ObservedRun, name: str) -> Path:
    return run.path / f"{name}.id"


def kept_id(run: ObservedRun, name: str) -> str:
    """The id of the run in another program, kept for a resumed run; empty if there is none."""
    path = _id_file(run, name)
    if not is_regular(path):
        return ""
    with path.open(encoding="utf-8") as file:
        return file.read(200).strip()


def keep_id(run: ObservedRun, name: str, value: str) -> str:
    """Keep the id of the run in another program, in the run's folder.

    Raises:
        OutputError: it cannot be written.
    """
    atomic_write(_id_file(run, name), f"{value}\n")
    return value
