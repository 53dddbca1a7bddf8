"""Converts numbers of any type to grey levels from 0 to 255, exactly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_cli.errors import DataError

_HINT = "Pixels are whole numbers from 0 to 255, or fractions from 0 to 1 (k/255)."
_SCALES = (255, 256)
"""Fractions are k/255; in mnist.pkl.gz and all files made from it, k/256."""
_SLACK = 0.02
"""Tolerance as a fraction of a level: numbers with four decimals are off by 0.013."""
_DARK = 128
"""Images whose largest level is lower are dark, such as those of 4 bits."""
_HALF_SLACK = 0.13
"""Tolerance for float16: with its 11 bits, levels near 255 are off by 0.12."""


@dataclass
class Levels:
    """Turns blocks of numbers into bytes, all with one scale.

    Numbers are whole from 0 to 255, or fractions from 0 to 1, each a multiple of 1/255 (or 1/256).
    The first fraction decides. :meth:`finish` scales blocks that hold only 0 and 1.

    Attributes:
        place: the name of a row, such as "line 7 of train.csv", for messages.
        scale: the factor of all numbers; 0 is undecided.
        undecided: the number of rows before the scale was known.
        largest: the largest number so far, rounded down.
        rows: the number of rows so far.
    """

    place: Callable[[int], str]
    scale: int = 0
    undecided: int = 0
    largest: int = 0
    rows: int = 0

    def of(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Convert numbers (N, …) of any real type to bytes of the same shape.

        Raises:
            DataError: a number is not a grey level; names its row.
        """
        if values.dtype.kind not in "buif":
            raise DataError(
                f"{self.place(self.rows)}: {values.dtype} is not a type for pixels", _HINT
            )
        self._check_range(values)
        if values.dtype.kind == "f" and self.scale != 1:
            self._choose_scale(values)
        scale = max(self.scale, 1)
        if values.dtype.kind == "f":
            levels = self._rounded(values, scale)
        else:
            levels = values.astype(np.uint8)
            if scale > 1:
                levels *= 255
        self._count(len(levels))
        return levels

    def finish(self, images: npt.NDArray[np.uint8]) -> tuple[str, ...]:
        """Scale the blocks of 0 and 1 in ``images`` (N, …), all images; return remarks."""
        if self.scale == 0 and self.largest == 1:
            images *= 255
            return ("its pixels are 0 and 1: they become 0 and 255",)
        if self.scale > 1:
            images[: self.undecided] *= 255
            return (f"its pixels are fractions of 1: multiplied by {self.scale}",)
        if self.largest < _DARK:
            return (
                f"its brightest pixel is {self.largest} of 255: pictures must have the same range",
            )
        return ()

    def _count(self, count: int) -> None:
        if self.scale == 0:
            if self.largest > 1:
                self.scale = 1
            else:
                self.undecided += count
        self.rows += count

    def _check_range(self, values: npt.NDArray[Any]) -> None:
        least, most = values.min(initial=0), values.max(initial=0)
        top = 1 if self.scale > 1 else 255
        if least >= 0 and most <= top:  # false for NaN
            self.largest = max(self.largest, int(most))
            return
        self._refuse(values, (values >= 0) & (values <= top), f"0 to {top}")

    def _refuse(self, values: npt.NDArray[Any], good: npt.NDArray[np.bool_], allowed: str) -> None:
        row = int(np.argwhere(~good)[0][0])
        value = values[row][~good[row]].flat[0]
        raise DataError(f"{self.place(self.rows + row)}: a pixel is {value}, not {allowed}", _HINT)

    def _choose_scale(self, values: npt.NDArray[Any]) -> None:
        if self.scale == 0 and values.max(initial=0) <= 1 and self.largest <= 1:
            fractions = values[(values > 0) & (values < 1)]
            if fractions.size:
                fits = [one for one in _SCALES if _exact(fractions, one).all()]
                self.scale = fits[0] if fits else _SCALES[0]

    def _rounded(self, values: npt.NDArray[Any], scale: int) -> npt.NDArray[np.uint8]:
        good = _exact(values, scale)
        if not good.all():
            what = "a whole number" if scale == 1 else "a grey level divided by 255"
            self._refuse(values, good, what)
        # 256 levels of 1/256 end at 255/256: white is 1 only if all pixels are 0 or 1.
        levels: npt.NDArray[np.uint8] = np.minimum(np.rint(values * scale), 255).astype(np.uint8)
        return levels


def _exact(values: npt.NDArray[Any], scale: int) -> npt.NDArray[np.bool_]:
    slack = _HALF_SLACK if values.dtype == np.float16 else _SLACK
    wide = values.astype(np.float64) * scale if scale > 1 else values.astype(np.float64)
    exact: npt.NDArray[np.bool_] = np.abs(wide - np.rint(wide)) <= (slack if scale > 1 else 0)
    return exact
