"""From the name of a picture to its digits in MNIST's form; from folders to names of pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import is_folder
from mnist_cli.errors import DataError
from mnist_cli.vision.fitting import fit
from mnist_cli.vision.form import to_form
from mnist_cli.vision.image_files import ENDINGS, STDIN, Picture, read_picture
from mnist_cli.vision.ink import find_ink
from mnist_cli.vision.segmenting import Box, Cut, cut_apart, cut_whole


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit in MNIST's form: (28, 28), uint8, light on dark; its box in the upright picture."""

    path: str
    form: npt.NDArray[np.uint8]
    box: Box


@dataclass(frozen=True)
class Failure:
    """A picture, or a folder, that could not be used, and why."""

    path: str
    error: DataError


Way = Callable[[Picture, str], "list[Digit]"]
"""From a picture and its name to what is in it."""


def prepare(
    paths: Sequence[str], *, segment: bool = False, as_it_is: bool = False
) -> list[Digit | Failure]:
    """The digits of pictures, folders of pictures and ``-``, in that order.

    What cannot be used is a :class:`Failure` in its place. ``segment`` looks for many digits in
    each picture, else all its ink is one. ``as_it_is`` looks for no digit: the whole picture is
    brought to 28×28, as :mod:`mnist_cli.vision.fitting` has it.
    """
    way: Way = _whole if as_it_is else partial(digits_of, cut=cut_apart if segment else cut_whole)
    results: list[Digit | Failure] = []
    for path in paths:
        try:
            for picture in expand(path):
                results += _digits_or_failure(picture, way)
        except DataError as error:
            results.append(Failure(path, error))
    return results


def _is_folder(path: str) -> bool:
    try:
        return is_folder(Path(path))
    except OSError:  # as a name that is too long; whoever reads the picture says so
        return False


def expand(path: str) -> list[str]:
    """The pictures that a name means: those in a folder by their endings, ``img2`` before ``img10``.

    Raises:
        DataError: a folder without pictures, or one that cannot be read.
    """
    if path == STDIN or not _is_folder(path):
        return [path]
    try:
        entries = list(Path(path).iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from error
    names = [one for one in entries if one.suffix.lower() in ENDINGS]
    if not names:
        within = next((one for one in sorted(entries) if one.is_dir()), None)
        raise DataError(
            f"there is no picture in the folder {path}",
            f"Folders in it are not looked into: name them, as {within}."
            if within
            else f"Pictures end in {', '.join(sorted(ENDINGS))}.",
        )
    return [str(one) for one in sorted(names, key=_natural)]


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(word), "") if word.isdecimal() else (-1, word)
        for word in re.split(r"(\d+)", path.name)
    ]


def _digits_or_failure(path: str, way: Way) -> list[Digit | Failure]:
    try:
        return list(way(read_picture(path), path))
    except DataError as error:
        return [Failure(path, error)]


def _whole(picture: Picture, path: str) -> list[Digit]:
    height, width = picture.grey.shape
    return [Digit(path, fit(picture.grey), _own_pixels(Box(0, 0, height, width), picture.scale))]


def digits_of(picture: Picture, path: str, cut: Callable[..., list[Cut]]) -> list[Digit]:
    """The digits that ``cut`` makes of a picture's ink.

    Raises:
        DataError: the picture is blank, or holds no digits.
    """
    try:
        cuts = cut(find_ink(picture.grey))
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error
    return [Digit(path, to_form(one.levels), _own_pixels(one.box, picture.scale)) for one in cuts]


def _own_pixels(box: Box, scale: float) -> Box:
    return Box(*(round(scale * side) for side in (box.top, box.left, box.bottom, box.right)))
