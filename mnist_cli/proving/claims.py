"""Claims, their checks, and the loop that makes a row of each, even if the check fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from mnist_cli.data.load import LoadedData
from mnist_cli.errors import MnistError, Stopped


@dataclass(frozen=True)
class Subject:
    """The device and the data that claims are checked on.

    Attributes:
        device: the device under test.
        data: the data set, on the CPU.
        data_dir: the folder of its files.
        folder: an empty folder for runs and dumps; the caller removes it.
        worker: the module that trains recipes, each in a separate process.
    """

    device: torch.device
    data: LoadedData
    data_dir: Path
    folder: Path
    worker: str

    @property
    def dataset(self) -> str:
        """The data set's name, as ``--dataset`` takes it."""
        return self.data.spec.name


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        passed: None if the claim does not apply to this machine; ``figure`` says why.
        figure: the measurement in words, with its limit.
        values: the same as numbers, for ``--json``.
    """

    passed: bool | None
    figure: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row(Outcome):
    """The outcome for one claim; ``seconds`` is the wall time of the check."""

    claim: str = ""
    seconds: float = 0.0


Check = Callable[[], Outcome]
Claims = Mapping[str, Check]
"""The check of each claim, in the order in which they run."""


def prove(claims: Claims) -> Iterator[Row]:
    """Check the claims in order and yield a row for each; an exception is a claim that fails.

    Raises:
        Stopped: a signal asked the program to stop.
    """
    for claim, check in claims.items():
        started = perf_counter()
        try:
            outcome = check()
        except Stopped:
            raise
        except Exception as error:  # a broken device can fail in any way
            outcome = Outcome(False, _explained(error))
        seconds = perf_counter() - started
        yield Row(outcome.passed, outcome.figure, outcome.values, claim, seconds)


def _explained(error: Exception) -> str:
    if isinstance(error, MnistError):
        return error.message
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
