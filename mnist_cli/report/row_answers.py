"""What ``mnist predict`` prints for the rows of a data file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

from mnist_cli.inference.rows import RowAnswers
from mnist_cli.report.console import note, percent, print_json, print_table, visible

MOST_LISTED = 20
"""Maximum number of rows that are listed; of more rows, only the classes are counted."""


def print_rows(answers: RowAnswers, classes: Sequence[str], *, as_json: bool, as_csv: bool) -> None:
    """Print the class of each row: as JSON, as the CSV that Kaggle takes, or in tables."""
    if as_json:
        print_json([_plain(answers, row, classes) for row in range(len(answers.images))])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["ImageId", "Label"])
        names = [visible(name) for name in classes]  # a checkpoint may be a stranger's
        writer.writerows((row, names[one]) for row, one in enumerate(answers.best.tolist(), 1))
    elif len(answers.images) <= MOST_LISTED:
        _print_each(answers, classes)
    else:
        _print_counts(answers, classes)


def _plain(answers: RowAnswers, row: int, classes: Sequence[str]) -> dict[str, Any]:
    best = int(answers.probabilities[row].argmax())
    return {
        "path": answers.path,
        "row": row + 1,
        "digit": best,
        "class": classes[best],
        "probabilities": answers.probabilities[row].tolist(),
    }


def _print_each(answers: RowAnswers, classes: Sequence[str]) -> None:
    likeliest = (-answers.probabilities).argsort(axis=1, kind="stable")[:, :3]
    rows = [
        [str(number), *(f"{classes[one]} {percent(float(chances[one]))}" for one in best)]
        for number, (best, chances) in enumerate(
            zip(likeliest.tolist(), answers.probabilities, strict=True), 1
        )
    ]
    print_table(("row", *("best", "second", "third")[: likeliest.shape[1]]), rows)


def _print_counts(answers: RowAnswers, classes: Sequence[str]) -> None:
    best, chances = answers.best, answers.probabilities.max(1)
    rows = []
    for number, name in enumerate(classes):
        of = chances[best == number]
        rows.append([name, f"{len(of):,}", percent(float(of.mean())) if of.size else "-"])
    print_table(("class", "rows", "mean probability"), rows)
    note(f"{len(best):,} rows; --csv prints the class of each, --json the probabilities too")
