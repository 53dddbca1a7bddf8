"""What ``mnist eval`` prints: the score, a table of the classes, the confusion matrix, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from mnist_cli.report.console import make_table, percent, stdout

if TYPE_CHECKING:
    from mnist_cli.training.scoring import Evaluation

MOST_MISTAKES = 5
MOST_LETTERS = 60
"""Characters of all names of classes together, up to which they head the columns of a table."""


def print_evaluation(
    evaluation: Evaluation,
    classes: Sequence[str],
    files: Sequence[str] = (),
    *,
    tables: bool = True,
) -> None:
    """Print what ``mnist eval`` shows; without ``tables`` only the score.

    ``files`` are the images' files, by their numbers, if they have any.
    """
    console = stdout(wide=True)
    figures = evaluation.score
    console.print(
        f"[bold]accuracy {figures.accuracy:.4f}[/] "
        f"({round(figures.accuracy * figures.count):,} of {figures.count:,})   "
        f"loss {figures.loss:.4f}   "
        f"expected calibration error {evaluation.calibration_error:.4f}"
    )
    if evaluation.members:
        each = ", ".join(f"{member.accuracy:.4f}" for member in evaluation.members)
        console.print(
            f"the vote of {len(evaluation.members)} members; their mean accuracy is "
            f"{evaluation.mean_member_accuracy:.4f}: {each}"
        )
    if not tables:
        return
    console.print(_class_table(evaluation))
    console.print(confusion_table(evaluation.confusion, classes))
    if evaluation.mistakes:
        console.print(_mistake_table(evaluation, classes, files))


def _class_table(evaluation: Evaluation) -> Table:
    table = make_table("class", "precision", "recall", "F1", "images")
    for row in evaluation.per_class:
        table.add_row(
            escape(row.name),
            f"{row.precision:.4f}",
            f"{row.recall:.4f}",
            f"{row.f1:.4f}",
            f"{row.support:,}",
        )
    return table


def confusion_table(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Table:
    """Counts by true and predicted class, right ones green and wrong ones red.

    If the names of the classes are too long, numbers head the columns.
    """
    numbers = [str(number) for number in range(len(classes))]
    by_number = sum(map(len, classes)) > MOST_LETTERS
    heads = numbers if by_number else classes
    names = [f"{number} {name}" for number, name in zip(numbers, classes, strict=True)]
    table = make_table("true \\ predicted", *heads, title="confusion matrix")
    for true, (name, row) in enumerate(
        zip(names if by_number else classes, confusion, strict=True)
    ):
        cells = [
            f"[green]{count}[/]" if true == said else f"[red]{count}[/]" if count else "."
            for said, count in enumerate(row)
        ]
        table.add_row(escape(name), *cells)
    return table


def _mistake_table(evaluation: Evaluation, classes: Sequence[str], files: Sequence[str]) -> Table:
    count = len(evaluation.mistakes)
    title = f"the most confident of {count} mistakes"
    table = make_table("image", "true", "predicted", "confidence", title=title)
    for mistake in evaluation.mistakes[:MOST_MISTAKES]:
        table.add_row(
            escape(files[mistake.index]) if files else str(mistake.index),
            escape(classes[mistake.label]),
            escape(classes[mistake.predicted]),
            percent(mistake.confidence),
        )
    return table
