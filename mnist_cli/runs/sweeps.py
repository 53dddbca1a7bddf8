"""Sweeps: a grid of runs, planned as a whole, whose state is what the run directories hold.

``RUNS/sweeps/NAME/sweep.json`` holds the plan and the runs that failed. Each run's folder has the
sweep's name and the run's place in it, so a sweep that is killed at any point knows its runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from mnist_cli.base import locks
from mnist_cli.base.files import (
    atomic_write,
    explain_os_error,
    is_regular,
    make_folder,
    removing_empty,
)
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import MnistError, NonFiniteError, OutputError, UsageError
from mnist_cli.runs import directory
from mnist_cli.runs.directory import RunDirectory, run_name
from mnist_cli.runs.listing import FINISHED, SWEEPS, RunRecord, read_run

MOST_RUNS = 10_000
RESOLVED = {"dataset", "model", "prefer_hard", "start", "threads", "train_size"}
RESOLVED |= {"compile", "cuda_graph", "device", "halves", "precision"}
"""Keys for which a run may write another value than requested, such as an absolute path."""

_AUTOMATIC = re.compile(r"sweep-(\d+)")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        number: its place in the sweep, from 1.
        values: of the swept keys.
        config: of the run.
    """

    number: int
    values: Mapping[str, Any]
    config: TrainConfig

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a run's configuration may match; a run without a configuration may match."""
        keys = {"seed", "epochs", "batch_size", "lr", *self.values} - RESOLVED
        wanted = {key: getattr(self.config, key) for key in keys}
        return all(
            config.get(key, value) == value
            for key, value in wanted.items()
            if value not in ("auto", None)
        )

    @property
    def label(self) -> str:
        """In words: ``lr 0.03, seed 2``."""
        return ", ".join(
            f"{key} {value}" for key, value in {**self.values, "seed": self.seed}.items()
        )

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed


def axes_of(assignments: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Split ``key=a,b`` texts into the keys to sweep with their values, and the other texts.

    Raises:
        UsageError: a value is empty or given twice, a key is given twice, or the grid is too large.
    """
    axes: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    seen: set[str] = set()
    for text in assignments:
        key = text.partition("=")[0].strip().replace("-", "_")
        values = [value.strip() for value in text.partition("=")[2].split(",")]
        if key in seen:
            raise UsageError(f"{key} is given twice", f"Give its values together: {key}=A,B.")
        seen.add(key)
        if len(values) == 1:
            others.append(text)
            continue
        if "" in values:
            raise UsageError(f"{text}: a value is empty", f"For example: {key}=A,B.")
        axes[key] = tuple(values)
    return axes, others


def grid(axes: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Every combination of the values, the last key's changing first; one empty without keys."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def plan(keys: Sequence[str], configs: Sequence[TrainConfig]) -> tuple[Cell, ...]:
    """The runs of a sweep over ``keys``, which may include the seed, in this order.

    Raises:
        UsageError: two are equal.
    """
    known: dict[str, int] = {}
    cells = []
    for number, config in enumerate(configs, start=1):
        values = {key: getattr(config, key) for key in keys if key != "seed"}
        text = json.dumps(config.to_plain())
        if text in known:
            cell = Cell(number, values, config)
            raise UsageError(
                f"runs {known[text]} and {number} of the sweep are the same: {cell.label}",
                "Give each value once.",
            )
        known[text] = number
        cells.append(Cell(number, values, config))
    return tuple(cells)


def check_size(count: int) -> None:
    """Refuse a sweep of too many runs, before their configurations are made.

    Raises:
        UsageError: more than :data:`MOST_RUNS`.
    """
    if count > MOST_RUNS:
        raise UsageError(
            f"the sweep has {count:,} runs; at most {MOST_RUNS:,} are possible",
            "Give fewer values or seeds.",
        )


@dataclass
class Sweep:
    """A sweep in its folder.

    Attributes:
        root: folder of the run directories.
        name: of the sweep; the names of its runs begin with it.
        cells: its runs.
        failures: by the number of the run: code, kind and message of the error that ended it.
    """

    root: Path
    name: str
    cells: tuple[Cell, ...]
    failures: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the plan and the results are."""
        return self.root / SWEEPS / self.name

    @property
    def picture(self) -> Path:
        """The figure of the results."""
        return self.folder / "sweep.png"

    @property
    def table(self) -> Path:
        """The results, a line per run."""
        return self.folder / "results.csv"

    def run_name(self, cell: Cell) -> str:
        """The name of a cell's run, after its number."""
        return f"{self.name}.{cell.number}"

    def run_of(self, cell: Cell) -> RunDirectory | None:
        """The newest folder of the cell's run and settings, one with a checkpoint first; or None."""
        name = self.run_name(cell)
        named = (run for run in directory.numbered(self.root) if run_name(run.path) == name)
        found = [run for run in named if cell.matches(read_run(run.path).config)]
        begun = [run for run in found if is_regular(run.last)]
        return next(iter(begun + found), None)

    def record(self, cell: Cell) -> RunRecord | None:
        """What the cell's run directory holds; None if it has not begun."""
        run = self.run_of(cell)
        return read_run(run.path) if run else None

    def finished(self, cell: Cell) -> bool:
        """Whether the cell's run has its result."""
        record = self.record(cell)
        return record is not None and record.state == FINISHED

    @property
    def complete(self) -> bool:
        """Whether the table is written, and each run has its result or a failure that would repeat."""
        return self.table.is_file() and all(
            cell.number in self.failures or self.finished(cell) for cell in self.cells
        )

    def fail(self, cell: Cell, error: MnistError) -> None:
        """Record that a run has failed.

        Raises:
            OutputError: it cannot be written.
        """
        self.failures[cell.number] = {
            "code": error.code,
            "kind": error.kind,
            "message": error.message,
        }
        self.save()

    def save(self) -> None:
        """Write ``sweep.json``. Deletes the table, which is out of date from now on.

        Raises:
            OutputError: it cannot be written.
        """
        self.table.unlink(missing_ok=True)
        document = {
            "format": "mnist_cli.sweep",
            "version": 1,
            "plan": digest(self.cells),
            "runs": [{"number": cell.number, "run": cell.label} for cell in self.cells],
            "failures": {str(number): failure for number, failure in self.failures.items()},
        }
        atomic_write(self.folder / "sweep.json", json.dumps(document, indent=2) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep for this process, in a folder that is removed if no run has begun.

        Raises:
            OutputError: another process is training it, or the folder cannot be written.
        """
        with removing_empty(self.folder):
            lock = self._acquire()
            try:
                yield
            finally:
                lock.release()
                if not any(map(self.run_of, self.cells)):
                    self._discard()

    def _acquire(self) -> BaseFileLock:
        make_folder(self.folder)
        try:
            return locks.acquire(self.folder / "sweep.lock", timeout=0)
        except Timeout as error:
            raise OutputError(
                f"another process is training the sweep {self.name}",
                "Wait for it, stop it, or give this sweep another name.",
            ) from error
        except OSError as error:
            raise explain_os_error(error, self.folder, "lock") from error

    def _discard(self) -> None:
        """Remove the folder with the plan."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
            self.folder.parent.rmdir()


def digest(cells: Sequence[Cell]) -> str:
    """SHA-256 of every configuration, and of the source of the user's own networks."""
    found = hashlib.sha256()
    for cell in cells:
        found.update(json.dumps(cell.config.to_plain(), sort_keys=True).encode())
    for path in sorted({cell.config.model.path for cell in cells if cell.config.model.is_own}):
        with contextlib.suppress(OSError):  # reading the network reports it
            found.update(path.read_bytes())
    return found.hexdigest()


def open_sweep(root: Path, name: str, cells: tuple[Cell, ...]) -> Sweep:
    """The sweep of these runs: the newest one that is not complete, or else a new one.

    If ``name`` is empty, the sweep gets a number as its name.

    Raises:
        UsageError: ``name`` is another sweep's, or cannot be a name.
        OutputError: the folder cannot be read or written.
    """
    if name:
        sweep = Sweep(root, directory.check_name(name), cells)
        directory.check_name(sweep.run_name(cells[-1]))
        known = _stored(sweep.folder)
        if known and known.get("plan") != digest(cells):
            raise UsageError(
                f"the sweep {name} already exists, with other runs or another network",
                "Give the same options to continue it, or another --name.",
            )
        return _loaded(sweep, known)
    numbers = _numbers(root / SWEEPS)
    for number in numbers:
        sweep = Sweep(root, f"sweep-{number}", cells)
        known = _stored(sweep.folder)
        if known.get("plan") == digest(cells):
            sweep = _loaded(sweep, known)
            if not sweep.complete:
                return sweep
            break  # older ones of the same plan were left for this one
    return Sweep(root, f"sweep-{next(iter(numbers), 0) + 1}", cells)


def _numbers(folder: Path) -> list[int]:
    """The numbers of the sweeps that were given no name, newest first."""
    try:
        found = [_AUTOMATIC.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise explain_os_error(error, folder, "read") from error
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _stored(folder: Path) -> dict[str, Any]:
    """The content of ``sweep.json``; empty if none, or if it is garbled: it is written anew."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / "sweep.json").read_text(encoding="utf-8-sig"))
        if isinstance(found, dict) and isinstance(found.get("plan"), str):
            return found
    return {}


def _loaded(sweep: Sweep, stored: Mapping[str, Any]) -> Sweep:
    """The sweep with the failures that would repeat; other failures are tried again."""
    failures = stored.get("failures")
    for number, failure in (failures if isinstance(failures, dict) else {}).items():
        if isinstance(failure, dict) and failure.get("code") == NonFiniteError.code:
            with contextlib.suppress(ValueError):
                sweep.failures[int(number)] = {
                    "code": NonFiniteError.code,
                    "kind": str(failure.get("kind")),
                    "message": str(failure.get("message")),
                }
    return sweep
