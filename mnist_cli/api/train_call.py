"""Trains a run: ``mnist.train``, and what ``mnist train`` does once its options are read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Unpack

from mnist_cli.api import recipe_layers
from mnist_cli.api.arguments import named_network, recipe_text, settings_layer
from mnist_cli.api.checkpoint_given import saying_how
from mnist_cli.api.key_types import Settings
from mnist_cli.api.places import RUNS, data_folder, named_path
from mnist_cli.api.run_folder import target_of
from mnist_cli.api.run_object import Run
from mnist_cli.api.surroundings import briefly, undisturbed
from mnist_cli.config.names import EXAMPLE
from mnist_cli.config.sources import Layer
from mnist_cli.errors import Stopped, UsageError
from mnist_cli.runs.directory import check_name
from mnist_cli.runs.listing import read_run

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.training.callback import Callback
    from mnist_cli.training.run import RunRequest
    from mnist_cli.training.run_summary import Summary
    from mnist_cli.training.session import Session

ARGUMENTS = ("recipe", "callbacks", "progress", "runs", "data_dir", "name", "resume")


@dataclass(frozen=True)
class Order:
    """What to train.

    Attributes:
        settings: the configuration of a new run; None resumes one.
        typed: what was given for this run, beside a recipe.
        resume: the run or checkpoint to resume; None is the newest unfinished run.
        repeats: the run whose configuration is trained again, if one was the recipe.
    """

    settings: TrainConfig | None
    typed: Sequence[Layer] = ()
    resume: Path | None = None
    repeats: Path | None = None


def session_of(order: Order, request: RunRequest) -> AbstractContextManager[Session]:
    """The session of a new run, or of one that is resumed. See there for the errors."""
    from mnist_cli.training.resuming import resume
    from mnist_cli.training.run import begin

    if order.settings is not None:
        return begin(order.settings, request)
    return resume(order.resume, order.typed, request)


def carry_out(session: Session, order: Order, request: RunRequest) -> Summary | None:
    """Train to the end and read the test set; note what is resumed, and why bits may differ.

    Returns:
        How the run ended; None if another rank leads.
    """
    from mnist_cli.training.run import drive

    if order.settings is None:
        request.note(f"continuing {session.run.path}")
    elif order.repeats is not None:
        environment = read_run(order.repeats).environment
        if changes := session.differences_from(environment):
            request.note(f"the results may differ from {order.repeats}: {'; '.join(changes)}")
    return drive(session, request)


@briefly
def train(
    recipe: Run | str | os.PathLike[str] | int = "default",
    *,
    callbacks: Callback | str | Sequence[Callback | str] = (),
    progress: bool = True,
    runs: str | os.PathLike[str] = RUNS,
    data_dir: str | os.PathLike[str] | None = None,
    name: str = "",
    resume: Run | str | os.PathLike[str] | int | bool = False,
    **settings: Unpack[Settings],
) -> Run:
    """Train a network and measure its accuracy on the test set, as ``mnist train`` does.

    ::

        run = mnist.train("fast", seed=3, lr=0.03)
        run.test.accuracy

    The run is an ordinary run directory, with the same bits as the command's. Ctrl-C saves the
    run, and raises a KeyboardInterrupt that says how to resume. Afterwards, random generators and
    torch's settings are as before. Calls from several threads wait for each other.

    Args:
        recipe: a preset, such as ``fast`` or ``smoke``, a TOML file, or a run to repeat.
        callbacks: :class:`mnist_cli.Callback` objects that follow the run and may end it, and names
            of loggers (``tensorboard``, ``wandb``, ``mlflow``), in a list or alone.
        progress: show a bar, in a terminal on stderr or below the cell of a notebook.
        runs: folder of the run directories.
        data_dir: folder of the data sets; None is ``MNIST_DATA_DIR``, or ``data``.
        name: the run's name, for its folder; if empty, the data set and the network.
        resume: a run or a checkpoint to continue, to the same bits; True is the newest
            unfinished run.
        settings: any keys of the configuration, which override the recipe. ``model`` may be a
            class at the top of a Python file.

    Raises:
        UsageError: an argument is wrong, or a device is not available.
        DataError: the data set is not available, or is damaged.
        CheckpointError: no such run, or it cannot be resumed.
        OutputError: the run directory cannot be written.
        NonFiniteError: the loss is no longer finite.
        OutOfMemory: the device has too little memory.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    root, data = named_path(runs), data_folder(data_dir)
    order = _order(recipe, root, name, resume, settings)
    with undisturbed():
        from mnist_cli.api.following import Companion, progress_shown
        from mnist_cli.report.training import LearningCurves
        from mnist_cli.training.run import RunRequest

        companion, shown = Companion(), progress_shown(progress)
        text = "" if order.settings is None else recipe_text(recipe)
        request = RunRequest(
            data_dir=data,
            runs=root,
            observers=(companion, shown, LearningCurves(shown)),
            callbacks=_callbacks(callbacks),
            model_named=any("model" in layer.values for layer in order.typed),
            name=str(name or ""),
            recipe=recipe_layers.recipe_name(text, root) if text else "",
            insist=_interrupt,
        )
        stopped = _train(order, request)
    session = companion.session
    if stopped is not None:
        _pass_on(
            stopped, session, data, [one for one in _listed(callbacks) if isinstance(one, str)]
        )
    assert session is not None
    own = session.config.model if session.config.model.is_own else None
    return Run(session.run.path, own)


def _order(recipe: object, runs: Path, name: str, resume: object, settings: Settings) -> Order:
    if resume is not False:
        if recipe != "default" or name:
            raise UsageError("a resumed run keeps its own recipe and name", "Omit recipe and name.")
        typed = settings_layer({**named_network(resume), **settings}, ARGUMENTS)
        target = None if resume is True else target_of(resume)  # type: ignore[arg-type]
        return Order(None, [typed], target)
    if name:
        check_name(str(name))
    typed, text = (
        settings_layer({**named_network(recipe), **settings}, ARGUMENTS),
        recipe_text(recipe),
    )
    layer = recipe_layers.recipe_layer(text, runs, "recipe")
    composed = recipe_layers.compose_on(layer, [typed], "model='{}'")
    return Order(composed, [typed], repeats=recipe_layers.recipe_run(text, runs, "recipe"))


def _callbacks(given: Callback | str | Sequence[Callback | str]) -> tuple[Callback, ...]:
    """The callbacks, and one for each named logger."""
    from mnist_cli.training.loggers import logger

    return tuple(logger(one.lower()) if isinstance(one, str) else one for one in _listed(given))


def _listed(given: Callback | str | Sequence[Callback | str]) -> Sequence[Callback | str]:
    """One or several callbacks as several; a wrong object is refused where the run begins."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return tuple(given) if several else (given,)  # type: ignore[arg-type, return-value]


def _train(order: Order, request: RunRequest) -> Stopped | None:
    """Train, and free what the run leaves in memory; the signal's error if one came."""
    from mnist_cli.training.sweeping import tidy_up

    config = order.settings
    try:
        with saying_how(f"model='{EXAMPLE}'"), session_of(order, request) as session:
            config = session.config
            carry_out(session, order, request)
    except Stopped as stopped:
        return stopped
    finally:
        if config is not None:
            tidy_up(config)
    return None


def _interrupt() -> NoReturn:
    """Handle a second Ctrl-C: the last checkpoint remains."""
    raise KeyboardInterrupt


def _pass_on(
    stopped: Stopped, session: Session | None, data: Path, loggers: Sequence[str]
) -> NoReturn:
    """Tell the caller of a signal as Python does, now that its handlers are back.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        Stopped: another signal that the process has survived.
    """
    if session is not None:
        stopped.hint = _way_on(session, data, loggers)
    if stopped.signal == signal.SIGINT:
        raise KeyboardInterrupt(str(stopped)) from None
    signal.raise_signal(stopped.signal)
    raise stopped


def _way_on(session: Session, data: Path, loggers: Sequence[str]) -> str:
    """The call that continues the run."""
    run = str(session.run.path)
    if session.state.finished:
        return f"Read it with mnist.evaluate({run!r})."
    arguments = [f"resume={run!r}"]
    if session.config.model.is_own:
        arguments.append(f"model={str(session.config.model)!r}")
    if data != data_folder() and not (session.data.spec.bundled or session.data.spec.own):
        arguments.append(f"data_dir={str(data)!r}")
    if loggers:
        arguments.append(f"callbacks={list(loggers)!r}")
    return f"Resume with mnist.train({', '.join(arguments)})."
