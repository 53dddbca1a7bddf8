"""The command that continues a run: in the hint of a run that stops, and for the launcher."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.api.places import data_folder
from mnist_cli.base.process import command_line
from mnist_cli.errors import RankError, Stopped
from mnist_cli.training.distributed.rank_environment import RankPlace
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from mnist_cli.training.session import Session


class RunGuide(Observer):
    """Holds the command that resumes the run, once the run has begun.

    ``place`` is this process's rank; None trains alone.
    """

    def __init__(self, place: RankPlace | None, data_dir: Path, loggers: Sequence[str]) -> None:
        self._loggers = loggers
        self._place = place
        self._data_dir = data_dir
        self._session: Session | None = None

    def following(self, session: Session) -> AbstractContextManager[object]:
        """Leave the command that resumes the run to the launcher of the ranks, if there is one."""
        self._session = session
        if self._place is not None:
            self._place.write_resume(f"{self._resume} {self._run(session)}{self._logged}")
        return nullcontext()

    @contextlib.contextmanager
    def hints(self) -> Iterator[None]:
        """Add the command that continues the run to an error that ends it."""
        try:
            yield
        except (Stopped, RankError) as error:
            if session := self._session:
                over = isinstance(error, Stopped) and session.state.finished
                if over:
                    error.hint = f"Read it with: mnist eval {self._run(session)}"
                else:
                    error.hint = f"Resume with: {self._resume} {self._run(session)}{self._logged}"
            raise

    @property
    def _resume(self) -> str:
        return f"{train_command(self._place)} --resume"

    @property
    def _logged(self) -> str:
        return "".join(f" --logger {name}" for name in self._loggers)

    def _run(self, session: Session) -> str:
        """The run, and options for paths that the next command would not find."""
        words, spec = [str(session.run.path)], session.data.spec
        if session.config.model.is_own:
            words += ["--model", session.config.model]
        if self._data_dir != data_folder() and not (spec.bundled or spec.own):
            words += ["--data-dir", str(self._data_dir)]
        return command_line(words)


def train_command(place: RankPlace | None) -> str:
    """The command that starts the same number of ranks again, up to its options."""
    if place is None:
        return "mnist train"
    if place.folder:
        return f"mnist train --nproc {place.size}"
    if place.on_one_machine:
        return f"torchrun --nproc-per-node={place.size} -m mnist_cli train"
    return "torchrun, on each machine as before, … -m mnist_cli train"
