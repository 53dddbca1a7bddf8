"""Follows a training run: a bar on a terminal, a line per epoch, the curves, the summary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mnist_cli.autograd.render.labels import counted
from mnist_cli.base.cores import excess_threads, usable_cores
from mnist_cli.base.packages import import_failure
from mnist_cli.config.normalisations import in_words
from mnist_cli.report import console
from mnist_cli.report.console import percent, stdout
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress

    from mnist_cli.report.curve_process import CurveProcess
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.loop import StepResult
    from mnist_cli.training.run_summary import Summary
    from mnist_cli.training.session import Session


UPDATES_PER_SECOND = 8


class TrainingReport(Observer):
    """Shows a run: a bar on a terminal, a line per epoch elsewhere, only warnings if ``silent``.

    Args:
        silent: whether to show warnings alone.
        ranks: number of processes on this machine that share the run.
        out: the console for the bar and the lines; None is that of stdout.
    """

    def __init__(self, *, silent: bool, ranks: int = 1, out: Console | None = None) -> None:
        self._silent = silent
        self._lines = not silent
        self._ranks = ranks
        self._console = out or stdout(wide=True)
        self._bar: Progress | None = None
        self._next_update = 0.0

    def note(self, message: str) -> None:
        """Print a message on stderr, unless ``silent``."""
        if not self._silent:
            console.note(message)

    def warn(self, message: str) -> None:
        """Print a warning on stderr, even if ``silent``."""
        console.warn(message)

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Announce what is trained, and show the bar while the context lasts."""
        for warning in run_warnings(session, self._ranks):
            self.warn(warning)
        for note in (*run_notes(session), *_ways_on(session)):
            self.note(note)
        if self._silent or not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        self._bar = _bar(self._console, session.config.epochs)
        self._bar.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the terminal was closed
                self._bar.stop()

    def step(self, session: Session, step: StepResult) -> None:
        """Update the bar, now and then: reading the means waits for the device."""
        if self._bar is None or self._bar.get_time() < self._next_update:
            return
        self._next_update = self._bar.get_time() + 1 / UPDATES_PER_SECOND
        task, means = self._bar.tasks[0], session.state.running.means()
        self._bar.update(
            task.id,
            completed=step.epoch - 1 + step.batch / step.batches,
            epoch=step.epoch,
            loss=f"{means['loss']:.3f}",
            accuracy=percent(means["accuracy"]),
            speed=f"{task.speed * session.loader.images:,.0f}" if task.speed else "-",
        )

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Print the epoch's line; a closed pipe (`| head`) does not end the run."""
        if self._lines:
            try:
                line = epoch_line(result, session.config.epochs, self._console.width)
                self._console.print(line)
            except OSError:
                self._lines = False
        return False


def run_warnings(session: Session, ranks: int = 1) -> Iterator[str]:
    """What may make the run slower, or its bits differ."""
    import torch

    from mnist_cli.training.halving import threads_in_all

    config, available = session.config, usable_cores()
    threads = threads_in_all(config, session.compute.pair)
    if not threads and session.compute.device.type == "cpu":
        threads = torch.get_num_threads()  # a container may be allowed less than torch sees
    if excess_threads(threads * ranks):  # 64 on two cores: over 100 s in place of 2 s
        yield excess_threads(max(threads, config.threads) * ranks)
    if config.workers > available:
        yield (
            f"workers = {config.workers} is more than the {available} CPU "
            f"core{'s' * (available > 1)} available: they may slow each other down"
        )
    if session.differences:
        yield (
            "the run began in another environment, so results may differ from here on: "
            + "; ".join(session.differences)
        )
    if session.lacks_best:
        yield (
            f"{session.run.best}, the best checkpoint so far, is missing: unless a later epoch is "
            "better, the run is evaluated with last.pt"
        )


def run_notes(session: Session) -> Iterator[str]:
    """What is trained, on what."""
    from mnist_cli.devices.device import describe

    config, data, compute = session.config, session.data, session.compute
    yield (
        f"{data.spec.title}: {session.train_images:,} training images, "
        f"{len(session.val) if session.val else 0:,} validation, {len(data.test):,} test; "
        f"{config.model.label} on {describe(compute.device)}, {compute.precision.name}"
    )
    if session.normalisation != data.normalisation:
        mean, std = session.normalisation.mean, session.normalisation.std
        yield f"images are normalised with {in_words(mean, std)}, as {config.model.label} states"
    yield from session.start_notes
    if config.ensemble > 1:
        yield (
            f"an ensemble of {config.ensemble}: training metrics are the members' mean, "
            "validation and test figures are their vote's"
        )
    if session.state.finished:
        early = session.state.epoch < config.epochs
        yield (
            f"{session.run.path} {'has stopped early' if early else 'is already complete'}; "
            "only the test set is read again"
        )


def _ways_on(session: Session) -> Iterator[str]:
    """The command that continues a run that its limit would stop at once."""
    if session.state.finished and session.state.epoch < session.config.epochs:
        from mnist_cli.runs.listing import way_on

        yield f"continue it with: {way_on(session.run.path, session.config.to_plain())}"


class Postponed(Observer):
    """Passes the end of a run to an observer after the result has been printed."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._ended: Session | None = None

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Pass the epoch on."""
        return self._observer.epoch(session, result)

    def finished(self, session: Session) -> None:
        """Keep the session."""
        self._ended = session

    def finish(self) -> None:
        """Tell the observer, once, if the run has ended."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._observer.finished(ended)


class LearningCurves(Observer):
    """Draws ``curves.png`` at the end; without matplotlib, passes a note on to ``report``.

    A ``process`` draws while the test set is read. Without one, this process draws at the end.
    """

    def __init__(self, report: Observer, process: CurveProcess | None = None) -> None:
        self._report = report
        self._process = process

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Let the process begin after the last epoch."""
        if self._process is not None and session.state.finished and _has_curves(session):
            self._process.ask(session.run.path, **_figure(session))
        return False

    def finished(self, session: Session) -> None:
        """Draw the curves."""
        run = session.run
        if not _has_curves(session):
            self._report.note(f"{run.curves.name} is not drawn: a curve needs more than one point")
            return
        if self._process is None or not self._process.has_drawn():
            try:
                from mnist_cli.report.figures import save_learning_curves
            except ImportError as error:
                self._report.note(f"{run.curves.name} is not drawn: {import_failure(error)}")
                return
            save_learning_curves(
                session.state.history, run.curves, steps=session.steps, **_figure(session)
            )
        self._report.note(f"{run.curves}: {_drawn(session)}")


def _has_curves(session: Session) -> bool:
    return len(session.state.history) + len(session.steps) > 1


def _figure(session: Session) -> dict[str, Any]:
    """What ``curves.png`` needs beside the figures in ``metrics.jsonl``."""
    from mnist_cli.training.optim import learning_rates

    return {
        "rates": learning_rates(session.config, session.state.history, session.steps),
        "title": f"Learning curves of {session.run.path.name}",
        "augmented": session.config.augments,
    }


def _drawn(session: Session) -> str:
    """The effects that only the training figures of ``curves.png`` include."""
    config = session.config
    losses = "loss and accuracy"
    if config.label_smoothing:
        losses = (
            f"loss (with and without label smoothing of {config.label_smoothing:g}) and accuracy"
        )
    if not session.val:
        return f"training {losses} by step; no validation set"
    how = "in training mode" + (" on augmented images" if config.augments else "")
    return f"training {losses} by step, {how}; validation by epoch, in evaluation mode"


def _plain(result: EpochResult) -> str:
    """The loss that can be compared with the validation loss, if ``loss`` is not the same."""
    plain = result.plain_loss
    return "" if plain is None or plain == result.loss else f"without smoothing {plain:.4f}"


def epoch_line(result: EpochResult, epochs: int, width: int = 200) -> str:
    """One epoch's figures in a line; the less important are omitted if ``width`` is short."""
    val = result.val
    shown = [
        (9, f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"),
        (7, f"loss {result.loss:.4f}"),
        (5, _plain(result)),
        (8, f"accuracy {percent(result.accuracy)}"),
        (3, f"val loss {val.loss:.4f}" if val else ""),
        (9, f"val accuracy {percent(val.accuracy)}" if val else ""),
        (2, f"lr {result.lr:.3g}"),
        (1, f"grad {result.grad_norm:.3g}"),
        (4, f"{result.images_per_second:,.0f} img/s"),
        (6, f"{result.seconds:.1f} s"),
    ]
    parts = [part for part in shown if part[1]]
    while sum(len(text) + 2 for _, text in parts) - 2 > width and len(parts) > 1:
        parts.remove(min(parts))
    return "  ".join(text for _, text in parts)


def _bar(console: Console, epochs: int) -> Progress:
    """A bar over the whole run; a wider terminal shows more figures."""
    from rich import progress

    columns: list[progress.ProgressColumn] = [
        progress.TextColumn(f"epoch {{task.fields[epoch]}}/{epochs}"),
        progress.BarColumn(bar_width=None),
        progress.TaskProgressColumn(),
    ]
    if console.width >= 56:
        columns.append(progress.TextColumn("loss {task.fields[loss]} acc {task.fields[accuracy]}"))
    if console.width >= 72:
        columns.append(progress.TextColumn("{task.fields[speed]} img/s"))
    columns += [progress.TimeRemainingColumn(compact=True), progress.TextColumn("left")]
    bar = progress.Progress(
        *columns, console=console, transient=True, refresh_per_second=UPDATES_PER_SECOND
    )
    bar.add_task("train", total=epochs, epoch=1, loss="-", accuracy="-", speed="-")
    return bar


def print_summary(summary: Summary, *, kept: bool) -> None:
    """Print the result on the test set, and the paths of the run if it was ``kept``."""
    out = stdout(wide=True)
    test = summary.test
    right = round(test.accuracy * test.count)
    if summary.stop_reason:
        out.print(f"stopped early: {escape(summary.stop_reason)}")
    out.print(
        f"[bold green]test accuracy {percent(test.accuracy)}[/] "
        f"({right:,} of {test.count:,}), loss {test.loss:.4f}"
    )
    epochs = counted(summary.epochs, "epoch")
    if summary.rest:
        rest = counted(summary.rest, "step")
        epochs = f"{epochs} and {rest}" if summary.epochs else rest
    networks = f"{summary.ensemble} networks for " if summary.ensemble > 1 else ""
    out.print(
        f"trained {networks}{epochs} in {summary.train_seconds:.1f} s on {escape(summary.device_name)}, "
        f"{summary.precision}, seed {summary.seed}"
    )
    if kept:
        out.print(f"run         {escape(summary.run)}")
        out.print(f"checkpoint  {escape(summary.checkpoint)}")
