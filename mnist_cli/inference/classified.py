"""Pictures and the classes that a network gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_cli.errors import MnistError
from mnist_cli.inference.certainty import UNSURE as UNSURE
from mnist_cli.inference.certainty import most_likely
from mnist_cli.vision.digits import Digit, Failure, prepare
from mnist_cli.vision.image_files import is_missing

if TYPE_CHECKING:
    from mnist_cli.inference.opened import OpenCheckpoint


@dataclass(frozen=True)
class Answer:
    """A digit, and the probability of each class."""

    digit: Digit
    probabilities: tuple[float, ...]

    @property
    def best(self) -> tuple[int, ...]:
        """The three most likely classes, the most likely first."""
        return most_likely(self.probabilities)

    @property
    def unsure(self) -> bool:
        """Whether the most likely class has a probability below :data:`UNSURE`."""
        return max(self.probabilities) < UNSURE


def classify(
    opened: OpenCheckpoint, pictures: Sequence[str], *, segment: bool
) -> list[Answer | Failure]:
    """Classify the digits of pictures, folders and ``-`` in their order, failures included.

    With ``segment``, find several digits in each picture. Pictures are not cropped if the network
    has ``whole_pictures``.

    Raises:
        MnistError: as :meth:`Scorer.log_probabilities`.
    """
    results = prepare(pictures, segment=segment, as_it_is=opened.whole_pictures)
    forms = [one.form for one in results if isinstance(one, Digit)]
    rows = iter(opened.scorer.probabilities(np.stack(forms)).tolist() if forms else [])
    return [Answer(one, tuple(next(rows))) if isinstance(one, Digit) else one for one in results]


def reasons_missing(pictures: Sequence[str]) -> list[MnistError]:
    """An error for each picture if none of them exists; else empty. Needs no network."""
    if not all(map(is_missing, pictures)):
        return []
    return [one.error for one in prepare(pictures) if isinstance(one, Failure)]
