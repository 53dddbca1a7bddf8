"""A run as an argument of a call: its folder, its number or its name. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from mnist_cli.api.places import named_path
from mnist_cli.config.names import ModelName
from mnist_cli.errors import UsageError
from mnist_cli.runs.directory import run_name, run_number


@dataclass(frozen=True, repr=False)
class RunFolder:
    """The folder of a run and the caller's own network: what :class:`mnist_cli.Run` is as an argument."""

    path: Path
    network: ModelName | None = None

    def __post_init__(self) -> None:
        """Keep the whole path: a notebook may change its working directory."""
        object.__setattr__(self, "path", Path(self.path).absolute())

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def shown(self) -> Path:
        """The path as the commands show it: from the working directory, if the folder is below it."""
        try:
            here = Path.cwd()
        except OSError:  # it is gone
            return self.path
        return self.path.relative_to(here) if self.path.is_relative_to(here) else self.path

    @property
    def number(self) -> int:
        """The run's number; 0 if the folder's name has none."""
        return run_number(self.path)

    @property
    def name(self) -> str:
        """What follows the number in the folder's name."""
        return run_name(self.path)


def network_of(given: object) -> ModelName | None:
    """The caller's own network of a run; None for anything else."""
    return given.network if isinstance(given, RunFolder) else None


def target_of(run: RunFolder | str | os.PathLike[str] | int) -> Path:
    """What names a run or a checkpoint, as the commands take it: a path, a name or a number.

    Raises:
        UsageError: it is of another type.
    """
    if isinstance(run, RunFolder):
        return run.shown
    if isinstance(run, bool) or not isinstance(run, (str, os.PathLike, Integral)) or run == "":
        raise UsageError(
            f"{run!r:.60} is not a run",
            "Give a Run, a path, or the run's number or name.",
        )
    return named_path(str(run) if isinstance(run, Integral) else run)
