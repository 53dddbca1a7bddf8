"""``mnist train``: options in, one run, report out."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli import choices
from mnist_cli.commands import options
from mnist_cli.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    import torch

    from mnist_cli import config as configs
    from mnist_cli.config import TrainConfig
    from mnist_cli.data.load import LoadedData
    from mnist_cli.training.checkpoint import Checkpoint
    from mnist_cli.training.device import Precision
    from mnist_cli.training.rundir import RunDirectory
    from mnist_cli.training.session import Session, Summary

RECIPE, STOPPING = "Recipe", "Stopping and saving"

FREE_ON_RESUME = frozenset(
    {"device", "threads", "workers", "checkpoint_every", "early_stopping", "target_accuracy"}
)
"""Keys that may change when a run goes on: where it computes and when it stops."""


def train(
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    model: options.ModelOption = None,
    seed: options.SeedOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            "-e",
            metavar="N",
            help="Passes over the training set.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-b", metavar="N", help="Images a step.", rich_help_panel=RECIPE
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            metavar="RATE",
            help="Highest learning rate of the schedule.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            metavar="|".join(choices.OPTIMIZERS),
            rich_help_panel=RECIPE,
            help="How weights are updated.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="|".join(choices.SCHEDULES),
            rich_help_panel=RECIPE,
            help="How the learning rate goes over the run.",
        ),
    ] = None,
    loader: Annotated[
        str | None,
        typer.Option(
            "--loader",
            metavar="|".join(choices.LOADERS),
            rich_help_panel=options.DATA,
            help="device: the whole set lives there; dataloader: torch's, image by image.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes of --loader dataloader.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="CPU threads; 0 is torch's choice.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    compile_: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="torch.compile the network.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            rich_help_panel=options.COMPUTE,
            help="CUDA: the same bits each time, slower. A CPU always does so.",
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            "--early-stopping",
            metavar="N",
            rich_help_panel=STOPPING,
            help="Stop after N epochs without a better validation accuracy.",
        ),
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            "--target-accuracy",
            metavar="FRACTION",
            rich_help_panel=STOPPING,
            help="Stop once the validation accuracy reaches this, as 0.99.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            metavar="N",
            rich_help_panel=STOPPING,
            help="Batches between checkpoints, besides one each epoch.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN|FILE",
            rich_help_panel=STOPPING,
            help="Go on with a run where it stopped, to the same bits.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            rich_help_panel=STOPPING,
            help="One batch through everything; nothing is kept.",
        ),
    ] = False,
    runs: options.RunsOption = options.RUNS,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            rich_help_panel=options.OUTPUT,
            help="Write TensorBoard events into the run.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a network, and end with its accuracy on the test set.

    Without options: our default recipe on MNIST, on the best device there is. Settings come from
    flags, then --set, then --config, then the defaults. The validation set, cut from the training
    set, chooses best.pt; the test set is read once, at the end.
    """
    given = {**locals(), "compile": compile_}
    from mnist_cli import config as configs

    flags: dict[str, Any] = {key: value for key, value in given.items() if key in configs.KEYS}
    say = _Speaker(silent=as_json or quiet)
    if dry_run and resume is not None:
        raise UsageError("--dry-run and --resume contradict each other", "Give one of them.")
    layers = [configs.from_assignments(assignments or ()), configs.from_flags(flags)]
    if resume is None:
        settings = options.compose_config(config, assignments, flags)
        summary = _train_anew(settings, data_dir, runs, say, tensorboard, dry_run)
    else:
        if config is not None:
            raise UsageError(
                "--config and --resume contradict each other",
                "A resumed run keeps its own configuration; leave --config out.",
            )
        summary = _resume(resume, layers, data_dir, runs, say, tensorboard)
    from mnist_cli.report.console import print_json, print_summary

    if as_json:
        gone = {"run": None, "checkpoint": None} if dry_run else {}
        print_json(summary.to_plain() | gone)
    else:
        print_summary(summary, kept=not dry_run)
    if dry_run:
        say.note("dry run: one batch went through everything; nothing was kept")


class _Speaker:
    """What a run says besides its report, unless it is to be silent."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent

    def note(self, message: str) -> None:
        from mnist_cli.report.console import note

        if not self.silent:
            note(message)

    def warn(self, message: str) -> None:
        from mnist_cli.report.console import warn

        warn(message)


def _train_anew(
    config: TrainConfig,
    data_dir: Path,
    runs: Path,
    say: _Speaker,
    tensorboard: bool,
    dry_run: bool,
) -> Summary:
    from mnist_cli.training import rundir

    device, precision = _device(config)
    with _runs_folder(runs, temporary=dry_run) as folder:
        data = _load(config, data_dir, say)
        if dry_run:
            config, data = _shrink(config, data)
        run = rundir.create(folder, data.spec.name, config.model)
        with run.locked():
            return _run(config, data, device, precision, run, None, say, tensorboard, dry_run)


def _resume(
    target: Path,
    layers: list[configs.Layer],
    data_dir: Path,
    runs: Path,
    say: _Speaker,
    tensorboard: bool,
) -> Summary:
    from mnist_cli.training import checkpoint as checkpoints
    from mnist_cli.training import rundir

    path = _resume_from(target, runs)
    checkpoint = checkpoints.read(path)
    if checkpoint.config is None or checkpoint.data is None:
        raise CheckpointError(
            f"{path} is another program's state_dict: it holds weights, but nothing to resume from",
            "It can be evaluated: mnist eval.",
        )
    config = _config_on_resume(checkpoint.config, layers)
    device, precision = _device(config, checkpoint)
    # The data set that was trained on, even where `auto` would choose another one now.
    data = _load(config.model_copy(update={"dataset": checkpoint.data.name}), data_dir, say)
    run = rundir.RunDirectory(path.parent)
    if path.name != run.last.name or not run.config.is_file():
        run = rundir.create(runs, data.spec.name, config.model)
    with run.locked():
        return _run(config, data, device, precision, run, checkpoint, say, tensorboard, False)


def _resume_from(target: Path, runs: Path) -> Path:
    """The file to go on from: of a run, ``last.pt``."""
    for folder in (target, runs / target):
        if folder.is_dir():
            path = folder / "last.pt"
            if path.is_file():
                return path
            raise CheckpointError(f"the run {folder} has no last.pt to resume from")
    return target


def _config_on_resume(saved: TrainConfig, layers: list[configs.Layer]) -> TrainConfig:
    """The checkpoint's configuration with what may change; anything else is refused."""
    from mnist_cli import config as configs

    wanted = configs.compose([configs.Layer(saved.to_plain(), {}), *layers])
    free = FREE_ON_RESUME | ({"epochs"} if saved.schedule in {"constant", "step"} else set())
    given = {key: layer.origin[key] for layer in layers for key in layer.values}
    for key, place in given.items():
        then, now = getattr(saved, key), getattr(wanted, key)
        if key not in free and then != now:
            raise UsageError(
                f"{place}: a resumed run keeps {key} = {then}; another value would change "
                "what the result means",
                f"Leave it out, or train anew. What may change: {', '.join(sorted(free))}.",
            )
    return wanted


def _device(
    config: TrainConfig, checkpoint: Checkpoint | None = None
) -> tuple[torch.device, Precision]:
    """Device and precision, before any data are read; a resumed run keeps its precision."""
    from mnist_cli.training.device import resolve_device, resolve_precision

    device = resolve_device(config.device)
    name = config.precision
    if checkpoint is not None and name == "auto":
        name = checkpoint.document.get("environment", {}).get("precision", name)
    return device, resolve_precision(name, device)


@contextlib.contextmanager
def _runs_folder(runs: Path, *, temporary: bool) -> Iterator[Path]:
    """Where the run directory goes; found unwritable now, before data are read."""
    from mnist_cli.files import check_writable

    if temporary:
        with tempfile.TemporaryDirectory(prefix="mnist-dry-run-") as folder:
            yield Path(folder)
        return
    check_writable(runs)
    yield runs


def _load(config: TrainConfig, data_dir: Path, say: _Speaker) -> LoadedData:
    from mnist_cli.data.load import load

    data = load(config.dataset, data_dir, say=say.note)
    if data.fallback:
        say.warn(
            f"MNIST cannot be had, so this run uses scikit-learn's bundled digits instead "
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
    update = {"epochs": 1, "train_size": config.batch_size, "val_size": val_size, "warmup": 0.0}
    return config.model_copy(update=update), small


def _run(
    config: TrainConfig,
    data: LoadedData,
    device: torch.device,
    precision: Precision,
    run: RunDirectory,
    checkpoint: Checkpoint | None,
    say: _Speaker,
    tensorboard: bool,
    dry_run: bool,
) -> Summary:
    from mnist_cli.training.device import describe
    from mnist_cli.training.session import Session
    from mnist_cli.training.signals import stop_on_signals

    session = Session(config, data, device, precision, run, checkpoint)
    if session.differences:
        say.warn(
            "this is not where the run was begun, so the last bits may differ: "
            + "; ".join(session.differences)
        )
    say.note(
        f"{data.spec.title}: {session.train_images:,} training images, "
        f"{len(session.val) if session.val else 0:,} validation, {len(data.test):,} test; "
        f"{config.model} on {describe(device)}, {precision.name}"
    )
    if session.state.finished:
        say.note(f"{run.path} was trained to its end already; only the test set is read anew")
    with stop_on_signals() as stop:
        _follow(session, stop, say, tensorboard)
        if stop:
            raise stop.error(
                f"trained to the end, but stopped before the test set was read; the run is {run.path}",
                f"Read it with: mnist eval {run.path}",
            )
        summary = session.finish()
        if not dry_run:
            _draw_curves(session, run)
    return summary


def _follow(session: Session, stop: Any, say: _Speaker, tensorboard: bool) -> None:
    """Drive the session and show its events."""
    from mnist_cli.report.console import TrainingReport
    from mnist_cli.training.loop import StepResult
    from mnist_cli.training.tensorboard import open_log

    state = session.state
    report = TrainingReport(session.config.epochs, session.loader.images, silent=say.silent)
    folder = session.run.tensorboard if tensorboard else None
    with open_log(folder, first_step=state.step) as log, report.following():
        for event in session.events(stop):
            if isinstance(event, StepResult):
                if report.wants_figures:
                    loss, accuracy, _ = state.running.means()
                    report.step(event.epoch, event.batch / event.batches, loss, accuracy)
            else:
                report.epoch(event)
                log.epoch(event)


def _draw_curves(session: Session, run: RunDirectory) -> None:
    from mnist_cli.report.figures import save_learning_curves

    save_learning_curves(session.state.history, run.curves, title=run.path.name)
