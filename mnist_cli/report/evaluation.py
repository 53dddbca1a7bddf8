"""What ``mnist eval`` prints: the score, a table of the classes, the confusion matrix, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from mnist_cli.report.console import make_table, percent, stdout

if TYPE_CHECKING:
    from mnist_cli.training.scoring import Evaluation

MOST_MISTAKES = 5
MOST_LETTERS = 60
"""Maximum total length of the class names, in characters, at which they head a table's columns."""


def print_evaluation(
    evaluation: Evaluation,
    classes: Sequence[str],
    files: Sequence[str],
    *,
    tables: bool,
    smoothing: float,
) -> None:
    """Print what ``mnist eval`` shows.

    Args:
        evaluation: the figures.
        classes: their names.
        files: the images' files, by their numbers, if they have any.
        tables: print more than the score.
        smoothing: the label smoothing that the network was trained with.
    """
    console = stdout(wide=True)
    whole = not console.is_terminal  # a terminal would break a long line inside a number
    figures = evaluation.score
    console.print(
        f"[bold]accuracy {figures.accuracy:.4f}[/] "
        f"({round(figures.accuracy * figures.count):,} of {figures.count:,})   "
        f"loss {figures.loss:.4f}   "
        f"expected calibration error {evaluation.calibration_error:.4f}",
        soft_wrap=whole,
    )
    if evaluation.members:
        each = ", ".join(f"{member.accuracy:.4f}" for member in evaluation.members)
        console.print(
            f"the vote of {len(evaluation.members)} members; their mean accuracy is "
            f"{evaluation.mean_member_accuracy:.4f}: {each}",
            soft_wrap=whole,
        )
    if not tables:
        return
    if why := calibration_reason(figures.accuracy, smoothing, len(classes)):
        console.print(why, soft_wrap=whole)
    shown: list[Table] = [_class_table(evaluation)]
    shown += confusion_tables(evaluation.confusion, classes, console.width)
    shown += [_mistake_table(evaluation, classes, files)] if evaluation.mistakes else []
    for table in shown:
        console.print()
        console.print(table)


def calibration_reason(accuracy: float, smoothing: float, classes: int) -> str:
    """Why label smoothing makes a network less confident than it is right; empty if it does not.

    The loss is least where the right class has the probability 1 - s + s / classes.
    """
    confidence = 1 - smoothing + smoothing / max(classes, 1)
    if not smoothing or accuracy <= confidence:
        return ""
    return (
        f"the calibration error comes from label smoothing: {smoothing:g} trains for a confidence of "
        f"{confidence:.0%}, below the accuracy"
    )


def _class_table(evaluation: Evaluation) -> Table:
    table = make_table("class", "precision", "recall", "F1", "images")
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap = True
    for number, row in enumerate(evaluation.per_class):
        name = row.name if row.name == str(number) else f"{number} {row.name}"
        table.add_row(
            escape(name),
            f"{row.precision:.4f}",
            f"{row.recall:.4f}",
            f"{row.f1:.4f}",
            f"{row.support:,}",
        )
    return table


@dataclass(frozen=True)
class _Form:
    """A way to write a confusion matrix: the rows' names, the columns' heads, blanks between."""

    labels: Sequence[str]
    heads: Sequence[str]
    gap: int

    def widths(self, confusion: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Of the first column, and of all others, which are equally wide."""
        counts = max((len(str(count)) for row in confusion for count in row), default=1)
        return max(map(cell_len, self.labels)), max([counts, *map(cell_len, self.heads)])

    def columns(self, confusion: Sequence[Sequence[int]], width: int) -> int:
        """How many columns of counts fit into a width; at least one."""
        label, cell = self.widths(confusion)
        return max((width - label) // (cell + self.gap), 1)


def _forms(classes: Sequence[str]) -> list[_Form]:
    """From the easiest to read to the narrowest; names need not be repeated above the columns."""
    numbers = [str(number) for number in range(len(classes))]
    both = [f"{number} {name}" for number, name in zip(numbers, classes, strict=True)]
    named = [(classes, classes)] if sum(map(cell_len, classes)) <= MOST_LETTERS else []
    pairs = [*named, (both, numbers), (numbers, numbers)]
    return [_Form(labels, heads, gap) for labels, heads in pairs for gap in (2, 1)]


def confusion_tables(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], width: int
) -> list[Table]:
    """Counts by true and predicted class, right ones green and wrong ones red.

    All columns of counts are equally wide. If the class names are too long for the terminal, the
    numbers of the class table replace them. If the matrix is still too wide, further tables
    continue its columns.
    """
    count, forms = len(classes), _forms(classes)
    fitting = (form for form in forms if form.columns(confusion, width) >= count)
    form = next(fitting, forms[-1])
    step = form.columns(confusion, width)
    return [
        _confusion_part(confusion, form, range(start, min(start + step, count)))
        for start in range(0, count, step)
    ]


def _confusion_part(confusion: Sequence[Sequence[int]], form: _Form, columns: range) -> Table:
    """Some columns of a confusion matrix."""
    title = "confusion matrix (rows: true class, columns: predicted class)"
    if columns.start:
        title = "confusion matrix, continued"
    table = make_table("", *(form.heads[one] for one in columns), title=title)
    table.padding = (0, form.gap - 1, 0, 0) if form.gap > 1 else (0, 0, 0, 0)
    label, cell = form.widths(confusion)
    for number, column in enumerate(table.columns):
        column.no_wrap = True
        column.min_width = column.max_width = cell + 1 if number else label
    for true, row in enumerate(confusion):
        cells = (
            f"[green]{row[said]}[/]"
            if true == said
            else f"[red]{row[said]}[/]"
            if row[said]
            else "."
            for said in columns
        )
        table.add_row(escape(form.labels[true]), *cells)
    return table


def _mistake_table(evaluation: Evaluation, classes: Sequence[str], files: Sequence[str]) -> Table:
    count = len(evaluation.mistakes)
    title = f"the most confident of {count} mistakes" if count > 1 else "the only mistake"
    table = make_table("image", "true", "predicted", "confidence", title=title)
    for column in table.columns[:-1]:
        column.overflow = "fold"
    for mistake in evaluation.mistakes[:MOST_MISTAKES]:
        table.add_row(
            escape(files[mistake.index]) if files else str(mistake.index),
            escape(classes[mistake.label]),
            escape(classes[mistake.predicted]),
            percent(mistake.confidence),
        )
    return table
