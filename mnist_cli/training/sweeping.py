"""Trains the runs of a sweep one after another, in one process: torch is imported once."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from mnist_cli.base.files import is_regular
from mnist_cli.config.schema import TrainConfig, from_flags
from mnist_cli.errors import (
    DataError,
    DependencyError,
    DeviceError,
    MnistError,
    OutputError,
    Stopped,
)
from mnist_cli.runs.removing import remove
from mnist_cli.runs.sweeps import Cell, Sweep
from mnist_cli.training.expected_errors import expected
from mnist_cli.training.resuming import resume
from mnist_cli.training.run import RunRequest, begin, drive
from mnist_cli.training.session import Session

SHARED = (DataError, DependencyError, DeviceError)
"""Failures that all runs of a sweep share, unless the sweep varies a key of :data:`PLACES`."""
PLACES = frozenset({"dataset", "device", "precision", "compile", "cuda_graph", "loader"})


def train_cell(sweep: Sweep, cell: Cell, request: RunRequest) -> MnistError | None:
    """Train one run of a sweep to its end, from where it stopped if it has begun.

    Returns:
        The error of this run alone, which is recorded; None if the run has its result.

    Raises:
        Stopped: a signal came; the run is saved.
        OutputError: nothing can be written, so the other runs would fail too.
        DataError, DeviceError, DependencyError: the other runs would fail too.
    """
    failure: MnistError | None = None
    try:
        with _session(sweep, cell, request) as session:
            drive(session, request)
    except Exception as error:
        failure = expected(error)
        if failure is None or isinstance(failure, (Stopped, OutputError)):
            raise
        if isinstance(failure, SHARED) and not PLACES & set(cell.values):
            raise
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None  # they hold tensors
        sweep.fail(cell, failure)
    finally:
        tidy_up(cell.config)
    return failure


def _session(sweep: Sweep, cell: Cell, request: RunRequest) -> AbstractContextManager[Session]:
    """The session of a run that begins or continues."""
    run = sweep.run_of(cell)
    if run is not None and is_regular(run.last):
        own = cell.config.model if cell.config.model.is_own else None
        return resume(run.path, [from_flags({"model": own})], request)
    if run is not None:  # killed before its first checkpoint: it holds nothing
        remove(run)
    return begin(cell.config, replace(request, name=sweep.run_name(cell)))


def tidy_up(config: TrainConfig) -> None:
    """Free what a run leaves in the process, so that the next run begins as in a fresh process."""
    gc.collect()
    if config.compile:
        torch.compiler.reset()  # else torch stops compiling after a number of networks
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
