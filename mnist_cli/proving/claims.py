"""Rows, and the loop that turns proofs into rows whatever happens inside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mnist_cli.errors import MnistError, Stopped

if TYPE_CHECKING:
    import torch

    from mnist_cli.data.load import LoadedData


@dataclass(frozen=True)
class Subject:
    """What the proofs run on.

    Attributes:
        device: the device under test.
        data: the data set, on the CPU.
        data_dir: where its files are.
        folder: an empty folder for runs and dumps; the caller removes it.
        worker: the module that trains recipes, each in a process of its own.
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

    @property
    def device_name(self) -> str:
        """The device, as ``--device`` takes it."""
        return str(self.device)


@dataclass(frozen=True)
class Row:
    """The outcome of one claim.

    Attributes:
        claim: what is claimed, in a few words.
        passed: None where the claim does not apply to this machine; ``figure`` says why.
        figure: the measurement in words, with its limit.
        values: the same as numbers, for ``--json``.
        seconds: wall time that the proof took for this row.
    """

    claim: str
    passed: bool | None
    figure: str
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Proof:
    """A claim and the function that checks it; ``title`` names the row if the check fails early."""

    title: str
    check: Callable[[Subject], Iterator[Row]]


def prove(subject: Subject, proofs: Sequence[Proof]) -> Iterator[Row]:
    """Run the proofs in order and yield their rows; a proof that fails becomes a failed row.

    Raises:
        Stopped: a signal asked the program to stop.
    """
    for proof in proofs:
        started = perf_counter()
        try:
            for row in proof.check(subject):
                now = perf_counter()
                yield replace(row, seconds=now - started)
                started = perf_counter()
        except Stopped:
            raise
        except Exception as error:  # a device that is broken fails in any way it likes
            yield Row(proof.title, False, _explained(error), {}, perf_counter() - started)


def _explained(error: Exception) -> str:
    if isinstance(error, MnistError):
        return error.message
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
