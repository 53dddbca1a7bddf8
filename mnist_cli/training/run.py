"""A training run from its configuration to its summary: :func:`begin`, then :func:`drive`.

Prints nothing: the caller passes observers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from mnist_cli.base.files import check_writable
from mnist_cli.base.signals import StopRequest, leave, stop_on_signals
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.load import LoadedData, load
from mnist_cli.data.split import validation_size
from mnist_cli.data.workers import explain_dead_worker
from mnist_cli.devices.device import resolve_device, resolve_precision
from mnist_cli.errors import Caution
from mnist_cli.networks import own_network
from mnist_cli.runs import directory
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training import checks, graphed, halving, rank_agreement, starting
from mnist_cli.training.callback import Callback
from mnist_cli.training.calling import Calls, check_callbacks
from mnist_cli.training.compute import Compute
from mnist_cli.training.distributed.rank_environment import RankPlace
from mnist_cli.training.loop import StepResult
from mnist_cli.training.observer import Observer
from mnist_cli.training.ranks import ALONE, Ranks
from mnist_cli.training.run_summary import Summary
from mnist_cli.training.session import Session
from mnist_cli.training.starting import Start


@dataclass(frozen=True)
class RunRequest:
    """What to do with a configuration.

    Attributes:
        data_dir: folder of the data sets.
        runs: folder of the run directories.
        observers: they follow the run in this process.
        callbacks: the user's own; the leading rank calls them.
        group: the sweep that the run belongs to, for callbacks; empty if it belongs to none.
        dry_run: train on one batch, and keep nothing.
        place: this process's rank among those that share the run; None trains alone.
        patience: seconds that ranks wait for each other.
        last: whether the process only reports the result afterwards: then a signal after the end of
            the run changes nothing.
        model_named: whether the user has named the network, so that a checkpoint to start from
            must hold it.
        name: of the new run, for its folder; if empty, the data set and the network name it.
        recipe: where the configuration comes from, in the user's words, for the run's records.
        insist: called on a second Ctrl-C.
    """

    data_dir: Path
    runs: Path
    observers: tuple[Observer, ...] = ()
    dry_run: bool = False
    place: RankPlace | None = None
    patience: float = 300.0
    last: bool = False
    model_named: bool = False
    name: str = ""
    recipe: str = ""
    insist: Callable[[], None] = leave
    callbacks: tuple[Callback, ...] = ()
    group: str = ""

    def __post_init__(self) -> None:
        """Refuse objects that are not callbacks.

        Raises:
            UsageError: names the object.
        """
        check_callbacks(self.callbacks)

    def note(self, message: str) -> None:
        """Pass a message on to the observers."""
        for observer in self.observers:
            observer.note(message)


@contextlib.contextmanager
def begin(config: TrainConfig, request: RunRequest) -> Iterator[Session]:
    """A session at its beginning in a new run directory, which stays locked.

    Raises:
        UsageError: the configuration asks for something that is not available.
        CheckpointError: the checkpoint to start from cannot be read, or holds another network.
        DataError: the data set is not available, or is damaged.
        OutputError: the run directory cannot be written.
    """
    rank_agreement.check_ranks(config, request.place)
    with rank_agreement.joined(request.place, request.patience) as ranks, ExitStack() as held:
        named = config.model if request.model_named else None
        start = starting.find_start(config, request.runs, named, ranks)
        if start is not None:
            config = start.configured(config)
        compute = compute_for(config, ranks, request.place)
        if config.model.is_own:  # check its file and class before data are read
            own_network.network_class(config.model)
        folder = held.enter_context(_runs_folder(request, ranks))
        data = load_data(config.dataset, request)
        config = _within(config, data)
        if request.dry_run:
            config, data = _shrink(config, data)

        def create() -> RunDirectory:
            run = directory.create(folder, data.spec.name, config.model, request.name)
            held.enter_context(run.locked())
            return run

        with session_in(create, config, data, compute, start=start) as session:
            session.recipe = request.recipe
            yield session


@contextlib.contextmanager
def session_in(
    find: Callable[[], RunDirectory],
    config: TrainConfig,
    data: LoadedData,
    compute: Compute,
    checkpoint: Checkpoint | None = None,
    start: Start | None = None,
) -> Iterator[Session]:
    """A session, once all ranks have agreed that they train the same.

    Args:
        find: finds or makes the run directory, and locks it; only the leading rank calls it.
        config: the run's configuration.
        data: the data set.
        compute: what this rank computes with.
        checkpoint: where to continue; None begins a run.
        start: the weights to begin with; None draws fresh ones.

    Raises:
        UsageError: this rank differs from the leading one or has no images, or the user's own
            network gives NaN or infinity before its first step.
        RankError: another rank differs from the leading one.
    """
    ranks, resumed = compute.ranks, checkpoint is not None
    rank_agreement.check_alike(config, compute, data, checkpoint)
    if config.model.is_own:
        own_network.require_trainable(config.model, len(data.spec.classes))
    rank_agreement.check_parts(config, data, ranks.size, resumed=resumed)
    run = rank_agreement.shared_directory(find, ranks)
    with explain_dead_worker():
        yield Session(config, data, compute, run, checkpoint, start)


def drive(session: Session, request: RunRequest) -> Summary | None:
    """Train to the end, followed by the observers, and read the test set.

    Returns:
        The summary of the run; None if another rank leads.

    Raises:
        Stopped: a signal came, in training or before the test set was read.
    """
    ranks = session.compute.ranks
    callbacks = Calls(session, request.callbacks, request.group, request.note)
    with stop_on_signals(request.insist) as stop, callbacks as calls:
        _follow(session, stop, (*request.observers, calls), warns=not request.dry_run)
        stop.signal = ranks.agree(stop.signal)
        if stop:
            raise stop.error(
                "trained to the end, but stopped before the test set was read; the run is "
                f"{session.run.path}"
            )
        if not ranks.leads:
            return None
        summary = session.finish()
        for observer in request.observers:
            observer.finished(session)
        calls.end(summary)
        stop.done = request.last
    return summary


def _warn(observers: tuple[Observer, ...], messages: Iterator[str]) -> None:
    for message in messages:
        for observer in observers:
            observer.warn(message)


def _follow(
    session: Session, stop: StopRequest, observers: tuple[Observer, ...], *, warns: bool
) -> None:
    with ExitStack() as following:
        for observer in observers:
            following.enter_context(observer.following(session))
        if before := session.score_start():
            for observer in observers:
                observer.note(
                    f"before training: validation loss {before.loss:.4f}, "
                    f"accuracy {100 * before.accuracy:.2f}%"
                )
        leads, first = session.compute.ranks.leads, session.state.step == 0
        if first and leads:
            _warn(observers, checks.before_training(session))
        for event in session.events(stop):
            if isinstance(event, StepResult):
                for observer in observers:
                    observer.step(session, event)
            else:
                if leads and warns and event.epoch == 1:
                    _warn(observers, checks.after_epoch(session, event))
                for observer in observers:
                    if observer.epoch(session, event):
                        session.halt(f"{type(observer).__name__} stopped it")


def compute_for(
    config: TrainConfig,
    ranks: Ranks = ALONE,
    place: RankPlace | None = None,
    precision: str = "auto",
) -> Compute:
    """What a configuration computes with on this machine.

    Args:
        config: the run's configuration.
        ranks: the processes that share the run.
        place: this process's rank among them; None trains alone.
        precision: replaces ``auto`` in the configuration: a resumed run keeps its precision.

    Raises:
        UsageError: the device, the precision, a CUDA graph or ``halves`` is not available.
    """
    if place is None:
        device = resolve_device(config.device)
    else:
        from mnist_cli.training.distributed.group import device_of

        device = device_of(config.device, place)
    chosen = precision if config.precision == "auto" else config.precision
    resolved = resolve_precision(chosen, device)
    captured = graphed.captures(config, device, resolved, ranks.size)
    pair = halving.pair_of(config, device, ranks.size)
    return Compute(device, resolved, captured, ranks, pair)


def load_data(dataset: str, request: RunRequest) -> LoadedData:
    """Load the data set, with a warning if another one replaces it."""
    data = load(dataset, request.data_dir, say=request.note)
    if data.fallback:
        message = (
            "MNIST is not available, so this run uses scikit-learn's bundled digits instead "
            f"({data.fallback}). Its accuracy says nothing about MNIST."
        )
        warnings.warn(message, Caution, stacklevel=2)
    return data


def _within(config: TrainConfig, data: LoadedData) -> TrainConfig:
    """The configuration, adapted if the data set replaces MNIST and has fewer images."""
    left = len(data.train) - validation_size(config.val_size, len(data.train))
    if not data.fallback or config.train_size <= left:
        return config
    message = (
        f"train_size = {config.train_size:,} is more than the bundled digits have: the run trains "
        f"on all {left:,} images"
    )
    warnings.warn(message, Caution, stacklevel=2)
    return config.model_copy(update={"train_size": 0, "prefer_hard": 0.0})


@contextlib.contextmanager
def _runs_folder(request: RunRequest, ranks: Ranks) -> Iterator[Path]:
    """The folder of the run directory, checked to be writable before data are read."""
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="mnist-dry-run-") as folder:
            yield Path(folder)
        return
    if ranks.leads:
        check_writable(request.runs)
    yield request.runs


def _shrink(config: TrainConfig, data: LoadedData) -> tuple[TrainConfig, LoadedData]:
    """One epoch of one batch of each split, if the data set has as many images as the run needs."""
    data.cut(config)
    few = torch.arange(min(config.batch_size, len(data.test)))
    val_size = min(validation_size(config.val_size, len(data.train)), config.batch_size)
    update = {
        "epochs": 1,
        "train_size": min(config.images_per_step, len(data.train) - val_size),
        "val_size": val_size,
        "drop_last": False,
        "warmup": 0.0,
        "max_steps": 0,
        "max_time": 0.0,
    }
    return config.model_copy(update=update), dataclasses.replace(data, test=data.test.take(few))
