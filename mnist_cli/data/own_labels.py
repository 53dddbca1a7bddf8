"""Converts the user's own labels: words, or whole numbers of any value, become classes from 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.data.records import Rows
from mnist_cli.errors import DataError


class Words:
    """Numbers labels that are words, such as "zero", as they appear; :meth:`named` sorts them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, words: Iterable[str]) -> list[int]:
        """A number for each word, the same for equal words."""
        return [self._numbers.setdefault(word, len(self._numbers)) for word in words]

    def named(self, rows: Rows) -> Rows:
        """The rows with the sorted words as names of the classes; ``rows.labels`` are their numbers.

        If all words are whole numbers, they become the labels.
        """
        if not self._numbers or rows.labels is None:
            return rows
        if all(word.isdecimal() and len(word) < _LONGEST for word in self._numbers):
            return replace(rows, labels=np.array([int(one) for one in self._numbers])[rows.labels])
        names = tuple(sorted(self._numbers))
        places = {name: place for place, name in enumerate(names)}
        order = np.array([places[word] for word in self._numbers], dtype=np.int64)
        return replace(rows, labels=order[rows.labels], names=names, spelled=True)


MOST = 2**31
_LONGEST = 9
_HINT = "Labels are whole numbers, one for each class."


def whole(
    stored: npt.NDArray[Any], place: Callable[[int], str], start: int = 0
) -> npt.NDArray[np.int64]:
    """Labels (N,) of any real type as whole numbers; ``place`` names a row, counted from ``start``.

    Raises:
        DataError: a label is not a whole number; names its row.
    """
    if stored.dtype.kind not in "buif":
        raise DataError(f"{place(start)}: the label is {stored.dtype}, not a number", _HINT)
    good = (stored >= -MOST) & (stored < MOST)
    if stored.dtype.kind == "f":
        good &= np.rint(stored) == stored
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"{place(start + row)}: the label {stored[row]} is not a whole number", _HINT
        )
    return stored.astype(np.int64)


def number(stored: npt.NDArray[Any], values: npt.NDArray[Any], where: str) -> npt.NDArray[np.int64]:
    """Labels (N,) counted from 0 in the order of ``values``, the labels of the training set.

    Raises:
        DataError: a label has no training images; ``where`` is the file.
    """
    labels = np.minimum(np.searchsorted(values, stored), len(values) - 1)
    wrong = np.flatnonzero(values[labels] != stored)
    if wrong.size:
        raise DataError(
            f"{where}: label {stored[wrong[0]]} at position {wrong[0]} has no training images",
            f"The classes are {', '.join(map(str, values.tolist()[:20]))}.",
        )
    return labels.astype(np.int64)


def remarks(values: npt.NDArray[Any]) -> Iterator[str]:
    """A remark on labels whose sorted values (K,) are not 0, 1, 2 and so on."""
    if values[0] != 0 or values[-1] != len(values) - 1:
        yield (
            f"its labels, {len(values)} numbers from {values[0]} to {values[-1]}, become class "
            f"names; the classes are numbered from 0 to {len(values) - 1}"
        )
