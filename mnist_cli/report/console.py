"""What the commands say: on a terminal with colour and a bar, elsewhere in plain lines.

Results go to stdout, notices and errors to stderr; with ``--json`` stdout holds the one document
and nothing else. Computes nothing; knows of training only its results.
"""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mnist_cli.errors import MnistError

if TYPE_CHECKING:
    from mnist_cli.data.fetch import Progress
    from mnist_cli.training.evaluate import Evaluation
    from mnist_cli.training.session import Summary
    from mnist_cli.training.state import EpochResult

MOST_MISTAKES = 5


class _Stdout(Console):
    """rich's console, except that a reader who has gone is for the caller to deal with."""

    def on_broken_pipe(self) -> None:
        # Called while rich handles the BrokenPipeError: that one goes on.
        raise


def stdout(*, wide: bool = False) -> Console:
    """The console for results; ``wide`` never wraps lines where they are not for a terminal."""
    console = _Stdout(highlight=False, emoji=False, soft_wrap=True)
    if wide and not console.is_terminal:
        console = _Stdout(highlight=False, emoji=False, soft_wrap=True, width=200)
    return console


def stderr() -> Console:
    """The console for notices and errors."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def report_error(error: MnistError, *, as_json: bool) -> None:
    """Say what failed: the message and the way out on stderr, with ``--json`` a document too."""
    with contextlib.suppress(OSError):
        _say(error.message, label="error", style="bold red")
        if error.hint:
            # Not wrapped: a command in it can be copied whole.
            stderr().print(escape(error.hint))
    if as_json:
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        print_error_document(error.code, error.kind, message)


def print_error_document(code: int, kind: str, message: str) -> None:
    """The one document that stdout holds where a command with ``--json`` failed."""
    print_json({"error": {"code": code, "kind": kind, "message": message}})


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def warn(message: str) -> None:
    """Say on stderr what the user must not miss."""
    _say(message, label="warning", style="bold yellow")


def note(message: str) -> None:
    """Say on stderr what the user may want to know."""
    _say(message, style="dim")


def _say(message: str, *, label: str = "", style: str = "none") -> None:
    """Print on stderr: on a terminal broken between words only, elsewhere not at all."""
    console = stderr()
    text = f"{label}: {message}" if label else message
    if console.is_terminal:
        lines = [_break(line, console.width) for line in text.splitlines()]
        text = "\n".join(lines)
    head, rest = (f"{label}:", text[len(label) + 1 :]) if label else (text, "")
    console.print(f"[{style}]{escape(head)}[/]{escape(rest)}")


def _break(line: str, width: int) -> str:
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def percent(fraction: float) -> str:
    """A fraction of 1 as percent with two digits: accuracy to four digits."""
    return f"{100 * fraction:.2f}%"


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
    console.print(
        f"trained {epochs} in {summary.train_seconds:.1f} s on {escape(summary.device_name)}, "
        f"{summary.precision}, seed {summary.seed}"
    )
    if kept:
        console.print(f"run         {escape(summary.run)}")
        console.print(f"checkpoint  {escape(summary.checkpoint)}")


def print_evaluation(evaluation: Evaluation, classes: Sequence[str]) -> None:
    """Everything that `mnist eval` shows."""
    console = stdout(wide=True)
    figures = evaluation.score
    console.print(
        f"[bold]accuracy {figures.accuracy:.4f}[/] "
        f"({round(figures.accuracy * figures.count):,} of {figures.count:,})   "
        f"loss {figures.loss:.4f}   "
        f"expected calibration error {evaluation.calibration_error:.4f}"
    )
    console.print(_class_table(evaluation))
    console.print(_confusion_table(evaluation, classes))
    if evaluation.mistakes:
        console.print(_mistake_table(evaluation, classes))


def _class_table(evaluation: Evaluation) -> Table:
    table = _table("class", "precision", "recall", "F1", "images")
    for row in evaluation.per_class:
        table.add_row(
            escape(row.name),
            f"{row.precision:.4f}",
            f"{row.recall:.4f}",
            f"{row.f1:.4f}",
            f"{row.support:,}",
        )
    return table


def _confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> Table:
    table = _table("true \\ predicted", *classes, title="confusion matrix")
    for true, (name, row) in enumerate(zip(classes, evaluation.confusion, strict=True)):
        cells = [
            f"[green]{count}[/]" if true == said else f"[red]{count}[/]" if count else "."
            for said, count in enumerate(row)
        ]
        table.add_row(escape(name), *cells)
    return table


def _mistake_table(evaluation: Evaluation, classes: Sequence[str]) -> Table:
    count = len(evaluation.mistakes)
    table = _table("image", "is", "taken for", "confidence", title=f"surest of {count} mistakes")
    for mistake in evaluation.mistakes[:MOST_MISTAKES]:
        table.add_row(
            str(mistake.index),
            escape(classes[mistake.label]),
            escape(classes[mistake.predicted]),
            percent(mistake.confidence),
        )
    return table


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if position == 0 else "right")
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table: the first column to the left, the others to the right."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    stdout(wide=True).print(table)


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """A titled list of names and values."""
    console = stdout(wide=True)
    console.print(f"[bold]{escape(title)}[/]")
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        console.print(f"  {escape(name):<{width}}  {escape(str(value))}")


def print_images(images: Sequence[Any], captions: Sequence[str]) -> None:
    """Grey images (H, W), uint8, as many side by side as fit, with a caption under each."""
    from mnist_cli.report import blocks

    console = stdout()
    width = images[0].shape[1]
    per_row = max(1, (console.width + 1) // (width + 1))
    # Without colours, as NO_COLOR asks, half blocks would be one solid field.
    in_colour = console.is_terminal and console.color_system is not None and not console.no_color
    for start in range(0, len(images), per_row):
        row = images[start : start + per_row]
        if in_colour:
            console.print(blocks.colour_row(row), end="")
        else:
            sys.stdout.write(blocks.plain_row(row))
        under = " ".join(f"{text:<{width}.{width}}" for text in captions[start : start + per_row])
        console.print(escape(under.rstrip()))


@contextlib.contextmanager
def fetching(*, silent: bool) -> Iterator[Any]:
    """Show a download: a bar on a terminal, a line a file elsewhere; gives the callback for it."""
    console = stderr()
    if silent:
        yield None
        return
    if not console.is_terminal:
        said: set[tuple[str, str]] = set()

        def tell(progress: Progress) -> None:
            if (progress.stage, progress.file) not in said:
                said.add((progress.stage, progress.file))
                note(f"{progress.stage} {progress.file} {progress.url}".rstrip())

        yield tell
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetching", total=None)

        def draw(progress: Progress) -> None:
            bar.update(
                task,
                description=f"{progress.stage} {progress.file}",
                completed=progress.done,
                total=progress.total,
            )

        yield draw
