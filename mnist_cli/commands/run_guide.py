"""Which command goes on with a run: the hint of a run that stops, and what the launcher is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.base.process import command_line
from mnist_cli.commands import options
from mnist_cli.errors import RankError, Stopped
from mnist_cli.training.distributed.rank_environment import Place
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from mnist_cli.training.session import Session


class RunGuide(Observer):
    """Knows the command that resumes the run, once it has begun.

    Args:
        place: this process's rank; None trains alone.
        data_dir: where the data sets are.
    """

    def __init__(self, place: Place | None, data_dir: Path) -> None:
        self._place = place
        self._data_dir = data_dir
        self._session: Session | None = None

    def following(self, session: Session) -> AbstractContextManager[object]:
        """Report to ``mnist train --nproc``, if that started this rank, how the run is resumed."""
        self._session = session
        if self._place is not None:
            self._place.write_resume(f"{self._resume} {self._run(session)}")
        return nullcontext()

    @contextlib.contextmanager
    def hints(self) -> Iterator[None]:
        """Add to an error that ends the run which command goes on with it."""
        try:
            yield
        except (Stopped, RankError) as error:
            if session := self._session:
                over = isinstance(error, Stopped) and session.state.finished
                todo = "Read it with: mnist eval" if over else f"Resume with: {self._resume}"
                error.hint = f"{todo} {self._run(session)}"
            raise

    @property
    def _resume(self) -> str:
        return f"{self._place.command if self._place else 'mnist train'} --resume"

    def _run(self, session: Session) -> str:
        """The run, and what the next command would not find by itself: data, a network's file."""
        words, spec = [str(session.run.path)], session.data.spec
        if session.config.model.is_own:
            words += ["--model", session.config.model]
        expected = Path(os.environ.get("MNIST_DATA_DIR") or options.DATA_DIR)
        if self._data_dir != expected and not (spec.bundled or spec.own):
            words += ["--data-dir", str(self._data_dir)]
        return command_line(words)
