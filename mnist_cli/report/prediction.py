"""What ``mnist predict`` shows: each digit as the network sees it, and its likeliest classes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_cli.report.console import note, percent, print_table
from mnist_cli.report.datasets import print_images

if TYPE_CHECKING:
    from mnist_cli.vision.digits import Digit, Failure

BEST = 3
MOST_DRAWN = 40


@dataclass(frozen=True)
class Answer:
    """A digit, and the probability of each class."""

    digit: Digit
    probabilities: tuple[float, ...]

    @property
    def best(self) -> tuple[int, ...]:
        """The likeliest classes, the likeliest first."""
        order = sorted(range(len(self.probabilities)), key=lambda one: -self.probabilities[one])
        return tuple(order[:BEST])


def print_answers(
    results: Sequence[Answer | Failure], classes: Sequence[str], *, pictures: bool
) -> None:
    """The digits side by side, then a line for each; failures are on stderr already."""
    answers = [one for one in results if isinstance(one, Answer)]
    if not answers:
        return
    if pictures:
        drawn = answers[:MOST_DRAWN]
        captions = [f"{classes[one.best[0]]}  {one.digit.path}" for one in drawn]
        print_images([one.digit.form for one in drawn], captions)
        if len(drawn) < len(answers):
            note(f"the first {len(drawn)} of {len(answers):,} digits are drawn")
    columns = ("picture", *("best", "second", "third")[: len(answers[0].best)])
    print_table(columns, [_row(one, classes) for one in answers])


def _row(answer: Answer, classes: Sequence[str]) -> list[str]:
    likeliest = [f"{classes[one]} {percent(answer.probabilities[one])}" for one in answer.best]
    return [answer.digit.path, *likeliest]


def print_csv(results: Sequence[Answer | Failure], classes: Sequence[str]) -> None:
    """A line a digit: path, class by number and name, box in pixels, probabilities; or the error."""
    places = ("top", "left", "bottom", "right")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["path", "digit", "class", *places, *(f"p_{name}" for name in classes), "error"]
    )
    for one in results:
        if isinstance(one, Answer):
            box = [getattr(one.digit.box, place) for place in places]
            said = [one.best[0], classes[one.best[0]]]
            writer.writerow([one.digit.path, *said, *box, *one.probabilities, ""])
        else:
            blanks = [""] * (2 + len(places) + len(classes))
            writer.writerow([one.path, *blanks, one.error.message])
