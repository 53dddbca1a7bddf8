"""A training run as it is followed: a bar on a terminal, a line an epoch, and how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from mnist_cli.report.console import percent, stdout

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.session import Summary


class TrainingReport:
    """Follows a run: a bar on a terminal, a line an epoch elsewhere, nothing when ``silent``."""

    def __init__(self, epochs: int, images: int, *, silent: bool) -> None:
        self._epochs = epochs
        self._images = images
        self._silent = silent
        self._console = stdout(wide=True)
        self._bar: _Bar | None = None

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Show the bar while the context lasts."""
        if self._silent or not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        with _Bar(self._console, self._epochs, self._images) as self._bar:
            yield

    @property
    def wants_figures(self) -> bool:
        """Whether figures of the running epoch are about to be shown; reading them costs time."""
        return self._bar is not None and self._bar.due

    def step(self, epoch: int, done: float, loss: float, accuracy: float) -> None:
        """Show where the running epoch stands; ``done`` is the fraction of it."""
        if self._bar is not None:
            self._bar.update(epoch, done, loss, accuracy)

    def epoch(self, result: EpochResult) -> None:
        """Print one epoch's line; a reader who has gone (`| head`) does not cost the run."""
        if self._silent:
            return
        try:
            self._console.print(epoch_line(result, self._epochs, self._console.width))
        except OSError:
            self._silent = True


def epoch_line(result: EpochResult, epochs: int, width: int = 200) -> str:
    """One epoch's figures in a line; the less important are left out where ``width`` is short."""
    val = result.val
    shown = [
        (9, f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"),
        (7, f"loss {result.loss:.4f}"),
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


class _Bar:
    """A rich progress bar over the whole run, with as many figures as the terminal is wide."""

    def __init__(self, console: Console, epochs: int, images: int) -> None:
        from rich import progress

        self._images = images
        self._epochs = epochs
        columns: list[progress.ProgressColumn] = [
            progress.TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            progress.BarColumn(bar_width=None),
            progress.TaskProgressColumn(),
        ]
        if console.width >= 56:
            columns.append(
                progress.TextColumn("loss {task.fields[loss]} acc {task.fields[accuracy]}")
            )
        if console.width >= 72:
            columns.append(progress.TextColumn("{task.fields[speed]} img/s"))
        self._progress = progress.Progress(
            *columns,
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._progress.add_task(
            "train", total=epochs, epoch=1, epochs=epochs, loss="-", accuracy="-", speed="-"
        )
        self._next = 0.0

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    @property
    def due(self) -> bool:
        """At most eight times a second."""
        return self._progress.get_time() >= self._next

    def update(self, epoch: int, done: float, loss: float, accuracy: float) -> None:
        self._next = self._progress.get_time() + 1 / 8
        task = self._progress.tasks[0]
        speed = task.speed
        self._progress.update(
            self._task,
            completed=epoch - 1 + done,
            epoch=epoch,
            loss=f"{loss:.3f}",
            accuracy=percent(accuracy),
            speed=f"{speed * self._images:,.0f}" if speed else "-",
        )


def print_summary(summary: Summary, *, kept: bool = True) -> None:
    """The end of a run: the test set's figures, and where everything lies if it was ``kept``."""
    console = stdout(wide=True)
    test = summary.test
    right = round(test.accuracy * test.count)
    if summary.stop_reason:
        console.print(f"stopped early: {escape(summary.stop_reason)}")
    console.print(
        f"[bold green]test accuracy {percent(test.accuracy)}[/] "
        f"({right:,} of {test.count:,}), loss {test.loss:.4f}"
    )
    epochs = "1 epoch" if summary.epochs == 1 else f"{summary.epochs} epochs"
    networks = f"{summary.ensemble} networks for " if summary.ensemble > 1 else ""
    console.print(
        f"trained {networks}{epochs} in {summary.train_seconds:.1f} s on {escape(summary.device_name)}, "
        f"{summary.precision}, seed {summary.seed}"
    )
    if kept:
        console.print(f"run         {escape(summary.run)}")
        console.print(f"checkpoint  {escape(summary.checkpoint)}")
