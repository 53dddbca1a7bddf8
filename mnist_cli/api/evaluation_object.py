"""The results of a network on a split, as an object that a notebook shows as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mnist_cli.api import markup
from mnist_cli.report.console import percent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnist_cli.training import scoring

MOST_ROWS, MOST_COLUMNS = 50, 26
"""Classes in the table of a notebook, and those that still get a confusion matrix there."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The results of a network on a split. A notebook shows them as tables.

    Attributes:
        figures: all results as the program computes them.
        classes: names of the classes.
        origin: what was evaluated and how: checkpoint, model, dataset, split, notes,
            normalisation, precision, misfit.
        files: by number, the file of each image, if each has one.
    """

    figures: scoring.Evaluation
    classes: tuple[str, ...]
    origin: Mapping[str, Any]
    files: Sequence[str] = ()

    @property
    def accuracy(self) -> float:
        """The fraction of images that are classified correctly."""
        return self.figures.score.accuracy

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.figures.score.loss

    @property
    def count(self) -> int:
        """Number of images."""
        return self.figures.score.count

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, over 15 bins of confidence."""
        return self.figures.calibration_error

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """A row per class: name, precision, recall, f1, support."""
        return [dict(vars(row)) for row in self.figures.per_class]

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts of images (classes, classes), int64: rows are labels, columns are predictions."""
        import numpy as np

        return np.array(self.figures.confusion, dtype=np.int64)

    @property
    def mistakes(self) -> list[dict[str, Any]]:
        """A row per mistake, the most confident first: index, label, predicted, confidence, path.

        The index is the image's number in its file; only images with a file each have a path.
        """
        return [
            vars(row) | ({"path": self.files[row.index]} if self.files else {})
            for row in self.figures.mistakes
        ]

    @property
    def members(self) -> list[dict[str, Any]]:
        """Loss, accuracy and count of each network of an ensemble; empty for one network."""
        return [dict(vars(member)) for member in self.figures.members]

    @property
    def notes(self) -> list[str]:
        """Sentences on what the results do not show, such as how another program's file was read."""
        found: list[str] = self.origin["notes"]
        return found

    def to_plain(self) -> dict[str, Any]:
        """As plain values: what ``mnist eval --json`` prints."""
        document: dict[str, Any] = {**self.origin, **vars(self.figures.score)}
        if self.members:
            document["members"] = self.members
            document["mean_member_accuracy"] = self.figures.mean_member_accuracy
        document["calibration_error"] = self.calibration_error
        document["per_class"] = self.per_class
        document["confusion"] = [list(row) for row in self.figures.confusion]
        document["mistakes"] = self.mistakes
        return document

    def _lines(self) -> tuple[str, str, str]:
        right = round(self.accuracy * self.count)
        worst = min(self.figures.per_class, key=lambda row: row.f1)
        confused = ", ".join(
            f"{self.classes[label]} taken for {self.classes[answer]} {times:,} times"
            for times, label, answer in self._confused()[:2]
        )
        origin = self.origin
        return (
            f"Evaluation: accuracy {percent(self.accuracy)} ({right:,} of {self.count:,}), "
            f"loss {self.loss:.4f}",
            f"of {origin['checkpoint'] or origin['model']} on the {origin['split']} images of "
            f"{origin['dataset']}, {origin['precision']}",
            f"lowest F1: {worst.name} with {worst.f1:.4f}" + (f"; {confused}" if confused else ""),
        )

    def _confused(self) -> list[tuple[int, int, int]]:
        """Count, label and answer of the wrong pairs, the most frequent first."""
        pairs = [
            (times, label, answer)
            for label, row in enumerate(self.figures.confusion)
            for answer, times in enumerate(row)
            if times and label != answer
        ]
        return sorted(pairs, key=lambda pair: -pair[0])

    def __repr__(self) -> str:
        return markup.lines_of(*self._lines())

    def _repr_html_(self) -> str:
        title, what, _ = self._lines()
        parts = [markup.facts(title, [("evaluated", what)]), self._class_table()]
        if len(self.classes) <= MOST_COLUMNS:
            parts.append(self._confusion_table())
        return "".join([*parts, *map(markup.paragraph, self.notes)])

    def _class_table(self) -> str:
        header = ("class", "precision", "recall", "F1", "images")
        rows = [
            (one.name, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", one.support)
            for one in self.figures.per_class[:MOST_ROWS]
        ]
        more = len(self.figures.per_class) - MOST_ROWS
        note = markup.paragraph(f"and {more} more classes in .per_class") if more > 0 else ""
        return markup.table(header, rows) + note

    def _confusion_table(self) -> str:
        rows = [
            (name, *(times or "·" for times in row))
            for name, row in zip(self.classes, self.figures.confusion, strict=True)
        ]
        return markup.table(("label \\ answer", *self.classes), rows)
