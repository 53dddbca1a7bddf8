"""What ``mnist predict`` prints: each digit as the network sees it, and its most likely classes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence

from mnist_cli.inference.classified import UNSURE, Answer
from mnist_cli.report.console import note, percent, print_table
from mnist_cli.report.datasets import print_images
from mnist_cli.vision.digits import Failure
from mnist_cli.vision.pieces import Box
from mnist_cli.vision.segmenting import LeftOut

MOST_DRAWN = 40
MOST_NAMED = 3
SIDES = ("top", "left", "bottom", "right")


def print_answers(
    results: Sequence[Answer | Failure], classes: Sequence[str], *, pictures: bool
) -> None:
    """Print the digits side by side, then a line for each; failures are on stderr already."""
    answers = [one for one in results if isinstance(one, Answer)]
    if not answers:
        return
    if pictures:
        drawn = answers[:MOST_DRAWN]
        captions = [f"{classes[one.best[0]]}  {one.digit.path}" for one in drawn]
        print_images([one.digit.form for one in drawn], captions)
        if len(drawn) < len(answers):
            note(f"showing the first {len(drawn)} of {len(answers):,} digits")
    columns = ("picture", *("best", "second", "third")[: len(answers[0].best)])
    print_table(columns, [_row(one, classes) for one in answers])
    if unsure := sum(one.unsure for one in answers):
        note(f"unsure, below {UNSURE:.0%}: {unsure:,} of {len(answers):,}")


def remarks(results: Sequence[Answer | Failure]) -> list[str]:
    """Sentences about pictures of which parts were ignored or changed."""
    found = [
        f"{one.digit.path}: {remark}"
        for one in results
        if isinstance(one, Answer)
        for remark in (*one.digit.remarks, *_summary(one.digit.left_out))
    ]
    return list(dict.fromkeys(found))


def _summary(parts: Sequence[LeftOut]) -> list[str]:
    """A sentence for each reason to leave ink out, with the first boxes."""
    found = []
    for why in dict.fromkeys(part.why for part in parts):
        alike = [part for part in parts if part.why == why]
        count = sum(part.pieces for part in alike)
        boxes = "; ".join(
            ", ".join(f"{side} {place}" for side, place in vars(part.box).items())
            for part in alike[:MOST_NAMED]
        )
        more = "; …" if len(alike) > MOST_NAMED else ""
        pieces = "1 piece" if count == 1 else f"{count:,} pieces"
        found.append(f"left out {pieces} ({why}): {boxes}{more}")
    return found


def _row(answer: Answer, classes: Sequence[str]) -> list[str]:
    likeliest = [f"{classes[one]} {percent(answer.probabilities[one])}" for one in answer.best]
    likeliest[0] += " (unsure)" if answer.unsure else ""
    return [answer.digit.path, *likeliest]


def print_csv(results: Sequence[Answer | Failure], classes: Sequence[str]) -> None:
    """Print a line per digit: path, class, box in pixels, probabilities, unsure; or the error.

    A piece of ink that was left out has a line with its box and the reason as the error.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["path", "digit", "class", *SIDES, *(f"p_{name}" for name in classes), "error", "unsure"]
    )
    for one in results:
        if isinstance(one, Answer):
            box = _sides(one.digit.box)
            said = [one.best[0], classes[one.best[0]]]
            writer.writerow(
                [one.digit.path, *said, *box, *one.probabilities, "", str(one.unsure).lower()]
            )
        else:
            blanks = [""] * (2 + len(SIDES) + len(classes))
            writer.writerow([one.path, *blanks, one.error.message, ""])
            continue
        for part in one.digit.left_out:
            blanks = [""] * len(classes)
            reason = f"left out: {part.why}"
            writer.writerow([one.digit.path, "", "", *_sides(part.box), *blanks, reason, ""])


def _sides(box: Box) -> list[int]:
    return [getattr(box, side) for side in SIDES]
