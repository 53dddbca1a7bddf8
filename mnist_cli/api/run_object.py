"""A run as an object: each property reads the run's folder again. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.api import markup
from mnist_cli.api.places import RUNS, named_path
from mnist_cli.api.run_folder import RunFolder, network_of, target_of
from mnist_cli.api.surroundings import briefly
from mnist_cli.base.files import is_folder, is_there
from mnist_cli.base.process import check_working_directory
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.report.console import percent
from mnist_cli.runs import listing
from mnist_cli.runs.directory import RunDirectory, run_number
from mnist_cli.runs.history import read_metrics
from mnist_cli.runs.results import Score, metric_rows

if TYPE_CHECKING:
    from mnist_cli.api.loaded import Classifier


class Run(RunFolder):
    """A training run. Its properties read the run's folder, also while it is being trained.

    :func:`mnist_cli.train` returns one; :func:`mnist_cli.open_run` and
    :func:`mnist_cli.list_runs` find earlier ones.

    Attributes:
        path: the run's folder.
        network: the network's name if it is a class in a Python file that the caller has named,
            such as ``net.py:Net``; else None. No file that a checkpoint names is ever run.
    """

    @property
    def record(self) -> listing.RunRecord:
        """All that is known without the checkpoints.

        Raises:
            CheckpointError: the folder does not exist, or is not a run.
        """
        return listing.open_run(self.shown, self.path.parent)

    @property
    def state(self) -> str:
        """``finished``, ``running`` in a process, or ``unfinished``."""
        return self.record.state

    @property
    def config(self) -> dict[str, Any]:
        """The configuration with what ``auto`` chose. ``mnist.train(**run.config)`` repeats it."""
        return dict(self.record.config)

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, machine and data set of the run."""
        return self.record.environment

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``, of kind ``step`` and ``epoch``, in the order of training.

        All rows have the same keys, so ``pandas.DataFrame(run.metrics)`` works; None is what a
        row's kind does not have. Losses are mean cross-entropies in nats, accuracies fractions
        of 1. ``train_plain_loss`` is the loss without label smoothing. :attr:`norms` are apart.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        found = read_metrics(RunDirectory(self.path))
        rows = [{"epochs_done": None} | row for row in metric_rows(found.steps, found.epochs)]
        order = ["kind", "epoch", "step", "epochs_done"]
        return [{key: row[key] for key in [*order, *row] if key != "norms"} for row in rows]

    @property
    def norms(self) -> list[dict[str, Any]]:
        """Norms of each parameter, its gradient and its update: a row per epoch and parameter.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        return [
            {"epoch": epoch.epoch, "parameter": name} | vars(norms)
            for epoch in read_metrics(RunDirectory(self.path)).epochs
            for name, norms in epoch.norms.items()
        ]

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that is used: the best on the validation set, or else the last.

        Raises:
            CheckpointError: the run has none yet.
        """
        return RunDirectory(self.path).checkpoint()

    @property
    def test(self) -> Score | None:
        """Loss, accuracy and number of images on the test set; None until the run has ended."""
        record = self.record
        if record.accuracy is None or record.loss is None or record.count is None:
            return None
        return Score(record.loss, record.accuracy, record.count)

    def model(self) -> Classifier:
        """The trained network: :func:`mnist_cli.load` of this run."""
        from mnist_cli.api.loading_call import load

        return load(self)

    def _lines(self) -> tuple[str, str, str]:
        record = self.record
        done = "" if record.planned is None else f"{record.epochs or 0} of {record.planned} epochs"
        if record.stop_reason:
            done += f" (stopped early: {record.stop_reason})"
        seconds = "" if record.seconds is None else f"{record.seconds:.1f} s"
        where = " ".join(filter(None, (record.device, record.precision)))
        seed = f"seed {record.config['seed']}" if "seed" in record.config else ""
        network = ModelName(record.model).label if record.model else "unknown network"
        what = f"{network} on {record.dataset or 'unknown data'}"
        return (
            f"Run {self.number}: {self.shown} ({record.state})",
            ", ".join(filter(None, (what, done, seconds, where, seed))),
            _result(record),
        )

    def __repr__(self) -> str:
        try:
            return markup.lines_of(*self._lines())
        except CheckpointError as error:
            return markup.lines_of(f"Run {self.number}: {self.shown}", error.message)

    def _repr_html_(self) -> str:
        try:
            title, what, result = self._lines()
        except CheckpointError as error:
            return markup.facts(f"Run {self.number}: {self.shown}", [("problem", error.message)])
        return markup.facts(title, [("training", what), ("result", result)])


class Runs(list[Run]):
    """A list of :class:`Run` that shows a line per run."""

    def _rows(self) -> list[tuple[str, ...]]:
        """The newest runs: number, folder, network, data set, what sets it apart, result."""
        records = [listing.read_run(run.path) for run in self[-MOST_SHOWN:]]
        apart = listing.distinctions(records)
        return [
            (
                str(run_number(record.path)),
                record.name,
                record.state,
                record.recipe,
                ", ".join(f"{key}={value}" for key, value in differs.items()),
                "" if record.accuracy is None else percent(record.accuracy),
            )
            for record, differs in zip(records, apart, strict=True)
        ]

    def __repr__(self) -> str:
        lines = ["  ".join(filter(None, row)) for row in self._rows()]
        return markup.lines_of(self._title(), *lines)

    def _repr_html_(self) -> str:
        header = ("run", "folder", "state", "recipe", "differs in", "test accuracy")
        return markup.paragraph(self._title()) + markup.table(header, self._rows(), textual=5)

    def _title(self) -> str:
        more = f", the newest {MOST_SHOWN}:" if len(self) > MOST_SHOWN else ""
        return f"{len(self):,} run{'s' * (len(self) != 1)}{more}"


MOST_SHOWN = 20
"""Runs that a list shows."""


def _result(record: listing.RunRecord) -> str:
    if record.accuracy is not None:
        right = ""
        if record.count is not None:
            right = f" ({round(record.accuracy * record.count):,} of {record.count:,})"
        loss = "" if record.loss is None else f", loss {record.loss:.4f}"
        return f"test accuracy {percent(record.accuracy)}{right}{loss}"
    if record.val_accuracy is not None:
        return f"no test result yet; best validation accuracy {percent(record.val_accuracy)}"
    return "no result yet"


@briefly
def open_run(
    run: RunFolder | str | os.PathLike[str] | int, *, runs: str | os.PathLike[str] = RUNS
) -> Run:
    """Open a run, finished or not.

    Args:
        run: its folder, its number or its name.
        runs: folder of the run directories.

    Raises:
        CheckpointError: there is no such run, or it cannot be read.
        UsageError: ``run`` is of another type.
    """
    record = listing.open_run(target_of(run), named_path(runs))
    return Run(record.path, network_of(run))


@briefly
def list_runs(runs: str | os.PathLike[str] = RUNS) -> Runs:
    """The runs in a folder, by number: a list of :class:`Run`, empty if there is no such folder.

    Raises:
        UsageError: ``runs`` is a file.
        CheckpointError: ``runs`` cannot be read.
        OutputError: the working directory was deleted.
    """
    root = named_path(runs)
    try:
        if not is_there(root):
            check_working_directory()
            return Runs()
        if not is_folder(root):
            raise UsageError(
                f"{root} is not a folder of runs", "Give the folder that holds the runs."
            )
    except OSError as error:
        raise CheckpointError(
            f"cannot look for runs in {root}: {error.strerror}",
            "Give a folder of runs that you may read.",
        ) from error
    hidden = (listing.UNREADABLE, listing.FOREIGN)
    return Runs(
        Run(record.path) for record in listing.list_runs(root) if record.state not in hidden
    )
