"""One training run as the command line drives it: data, session, report, dumps."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.base.packages import told
from mnist_cli.base.process import command_line
from mnist_cli.commands import options, shared_run
from mnist_cli.config.names import is_own_network, label, network_place
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import RankError, Stopped
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.session import Session

if TYPE_CHECKING:
    import torch

    from mnist_cli.base.signals import StopRequest
    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.data.load import LoadedData
    from mnist_cli.devices.device import Precision
    from mnist_cli.training.distributed.rank_environment import Place
    from mnist_cli.training.ranks import Ranks
    from mnist_cli.training.session import Summary


class Speaker:
    """What a run says besides its report, unless it is to be silent."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent

    def note(self, message: str) -> None:
        """Say what the user may want to know."""
        from mnist_cli.report.console import note

        if not self.silent:
            note(message)

    def warn(self, message: str) -> None:
        """Say what the user must not miss, silent or not."""
        from mnist_cli.report.console import warn

        warn(message)


Observer = Callable[[Session, EpochResult], bool]


@dataclass(frozen=True)
class RunRequest:
    """What was asked of a run besides its configuration.

    ``observers`` are called after each epoch; one that answers True ends the run there. ``place``
    is this process's among several that share the run, which wait ``patience`` seconds for each
    other. ``last`` says that the process has nothing else to do: once the run is done, signals
    change nothing.
    """

    data_dir: Path
    runs: Path
    say: Speaker
    tensorboard: bool = False
    dry_run: bool = False
    observers: tuple[Observer, ...] = ()
    place: Place | None = None
    patience: float = 300.0
    last: bool = False

    @property
    def observed(self) -> tuple[Observer, ...]:
        """The observers, where this process is the one that writes."""
        return () if self.place and self.place.rank else self.observers


def train_anew(config: TrainConfig, request: RunRequest) -> Summary | None:
    """Train from fresh weights into a new run directory; a dry run's is thrown away.

    Returns:
        How it ended; None where another rank tells.
    """
    with begin(config, request) as session:
        return drive(session, request)


@contextlib.contextmanager
def begin(config: TrainConfig, request: RunRequest) -> Iterator[Session]:
    """A session on fresh weights in a new run directory, which it holds meanwhile."""
    from mnist_cli.runs import directory as rundir

    with shared_run.joined(request.place, request.patience) as ranks:
        device, precision = device_and_precision(config, request.place)
        warn_of_threads(config, request, device)
        _run_own_file(config.model)
        with _runs_folder(request.runs, temporary=request.dry_run, writes=ranks.leads) as folder:
            data = load_data(config, request)
            if request.dry_run:
                config, data = _shrink(config, data)

            def create() -> RunDirectory:
                return rundir.create(folder, data.spec.name, config.model)

            _try_own_network(config.model, len(data.spec.classes))
            shared_run.check_alike(config, precision, data, ranks)
            shared_run.check_parts(config, data, ranks.size, resumed=False)
            with shared_run.held(create, ranks) as run:
                with begun(run, ranks):
                    session = Session(config, data, device, precision, run, ranks=ranks)
                yield session


def begun(run: RunDirectory, ranks: Ranks) -> AbstractContextManager[None]:
    """What is refused inside leaves no new run directory behind."""
    return run.begun() if ranks.leads else contextlib.nullcontext()


def _run_own_file(model: str) -> None:
    """Find out before any data are read whether a network's file can be run and has the class."""
    if place := network_place(model):
        from mnist_cli.networks import own_network

        own_network.network_class(place)


def _try_own_network(model: str, classes: int) -> None:
    """Try a network of the user's own before a run directory is made for it."""
    if is_own_network(model):
        from mnist_cli.networks import own_network

        own_network.check(model, classes)


def device_and_precision(
    config: TrainConfig, place: Place | None, checkpoint: Checkpoint | None = None
) -> tuple[torch.device, Precision]:
    """Device and precision, before any data are read; a resumed run keeps its precision."""
    from mnist_cli.devices.device import resolve_precision
    from mnist_cli.training.graphed import check

    size = place.size if place else 1
    shared_run.check_ranks(config, size)
    device = shared_run.resolve_device(config.device, place)
    name = config.precision
    if checkpoint is not None and name == "auto":
        name = checkpoint.document.get("environment", {}).get("precision", name)
    precision = resolve_precision(name, device)
    check(config, device, precision, size)  # what is not available is said before any data are read
    return device, precision


@contextlib.contextmanager
def _runs_folder(runs: Path, *, temporary: bool, writes: bool) -> Iterator[Path]:
    """Where the run directory goes; found unwritable now, before data are read."""
    from mnist_cli.base.files import check_writable

    if temporary:
        with tempfile.TemporaryDirectory(prefix="mnist-dry-run-") as folder:
            yield Path(folder)
        return
    if writes:
        check_writable(runs)
    yield runs


def warn_of_threads(config: TrainConfig, request: RunRequest, device: torch.device) -> None:
    """Warn of more threads than cores: 64 on two cores turned 2 s of training into over 100.

    torch's own number counts on the CPU, where a container may be allowed less than it sees.
    """
    from mnist_cli.base.cores import excess

    threads = config.threads
    if not threads and device.type == "cpu":
        import torch

        threads = torch.get_num_threads()
    place = request.place
    too_many = excess(threads * (place.local_size if place else 1))
    if too_many and not (place and place.rank):
        request.say.warn(too_many)


def load_data(config: TrainConfig, request: RunRequest) -> LoadedData:
    """The data set, and a warning that cannot be missed where another one stands in for it."""
    from mnist_cli.data.load import load

    data = load(config.dataset, request.data_dir, say=request.say.note)
    if data.fallback:
        request.say.warn(
            f"MNIST is not available, so this run uses scikit-learn's bundled digits instead "
            f"({data.fallback}). Its accuracy says nothing about MNIST."
        )
    return data


def _shrink(config: TrainConfig, data: LoadedData) -> tuple[TrainConfig, LoadedData]:
    """One batch of each split, one epoch."""
    import dataclasses

    import torch

    from mnist_cli.data.split import validation_size

    small = dataclasses.replace(
        data, test=data.test.take(torch.arange(min(config.batch_size, len(data.test))))
    )
    val_size = min(validation_size(config.val_size, len(data.train)), config.batch_size)
    update = {
        "epochs": 1,
        "train_size": min(config.batch_size, len(data.train) - val_size),
        "val_size": val_size,
        "drop_last": False,
        "warmup": 0.0,
    }
    return config.model_copy(update=update), small


def drive(session: Session, request: RunRequest) -> Summary | None:
    """Train to the end, showing how it goes; read the test set, and draw the curves.

    Returns:
        As :func:`train_anew`.

    Raises:
        Stopped: a signal came; the hint is the command that resumes.
    """
    from mnist_cli.base.signals import stop_on_signals

    _announce(session, request.say)
    run, command = session.run, shared_run.resuming(request.place)
    shared_run.tell_launcher(f"{command} {_where(session, request)}", request.place)
    with stop_on_signals() as stop:
        try:
            _follow(session, stop, request)
        except (Stopped, RankError) as error:
            error.hint = f"Resume with: {command} {_where(session, request)}"
            raise
        stop.signal = session.ranks.agree(stop.signal)
        if stop:
            raise stop.error(
                f"trained to the end, but stopped before the test set was read; the run is {run.path}",
                f"Read it with: mnist eval {_where(session, request)}",
            )
        if not session.ranks.leads:
            return None
        summary = session.finish()
        if not request.dry_run:
            _draw_curves(session, run, request.say)
        stop.done = request.last
    return summary


def _where(session: Session, request: RunRequest) -> str:
    """The run, and what the next command would not find by itself: data, a network's file."""
    words, spec = [str(session.run.path)], session.data.spec
    if is_own_network(session.config.model):
        words += ["--model", session.config.model]
    expected = Path(os.environ.get("MNIST_DATA_DIR") or options.DATA_DIR)
    if request.data_dir != expected and not (spec.bundled or spec.own):
        words += ["--data-dir", str(request.data_dir)]
    return command_line(words)


def _announce(session: Session, say: Speaker) -> None:
    from mnist_cli.base.cores import usable_cores
    from mnist_cli.devices.device import describe

    workers, available = session.config.workers, usable_cores()
    if workers > available:
        say.warn(
            f"workers = {workers} is more than the {available} CPU core{'s' * (available > 1)} "
            "available: they may slow each other down"
        )
    if session.differences:
        say.warn(
            "this is not where the run was begun, so its bits may differ from here on: "
            + "; ".join(session.differences)
        )
    data = session.data
    say.note(
        f"{data.spec.title}: {session.train_images:,} training images, "
        f"{len(session.val) if session.val else 0:,} validation, {len(data.test):,} test; "
        f"{label(session.config.model)} on {describe(session.device)}, {session.precision.name}"
    )
    if session.config.ensemble > 1:
        say.note(
            f"an ensemble of {session.config.ensemble}: figures of training are the members' "
            "mean, those of validation and test their vote's"
        )
    if session.state.finished:
        say.note(
            f"{session.run.path} was trained to its end already; only the test set is read anew"
        )


def _follow(session: Session, stop: StopRequest, request: RunRequest) -> None:
    """Drive the session and show its events."""
    from mnist_cli.data.workers import explain_dead_worker
    from mnist_cli.report.training import TrainingReport
    from mnist_cli.training.loop import Notice, StepResult
    from mnist_cli.training.tensorboard import open_log

    state = session.state
    silent = request.say.silent
    report = TrainingReport(session.config.epochs, session.loader.images, silent=silent)
    folder = session.run.tensorboard if request.tensorboard and session.ranks.leads else None
    with (
        open_log(folder, first_step=state.step) as log,
        report.following(),
        explain_dead_worker(),  # it is told wherever this process is: also while it reports
    ):
        for event in session.events(stop):
            if isinstance(event, StepResult):
                if report.wants_figures:
                    loss, accuracy, _ = state.running.means()
                    report.step(event.epoch, event.batch / event.batches, loss, accuracy)
            elif isinstance(event, Notice):
                request.say.warn(event.message)
            else:
                report.epoch(event)
                log.epoch(event)
                answers = [observe(session, event) for observe in request.observed]
                if any(answers):
                    return


def _draw_curves(session: Session, run: RunDirectory, say: Speaker) -> None:
    from mnist_cli.training.optim import learning_rates

    try:
        from mnist_cli.report.figures import save_learning_curves
    except ImportError as error:
        say.note(f"{run.curves.name} is not drawn: {told(error)}")
        return
    history = session.state.history
    rates = learning_rates(session.config, history)
    save_learning_curves(history, rates, run.curves, title=f"Learning curves of {run.path.name}")
