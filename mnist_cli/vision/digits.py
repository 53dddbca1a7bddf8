"""Reads digits from pictures and folders, and brings them to MNIST's form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.base.files import is_folder
from mnist_cli.errors import DataError
from mnist_cli.vision.colour import with_colour
from mnist_cli.vision.fitting import fit
from mnist_cli.vision.form import to_form
from mnist_cli.vision.image_files import ENDINGS, STDIN, Picture, is_picture_name, read_picture
from mnist_cli.vision.pieces import Box
from mnist_cli.vision.segmenting import LeftOut, Page, cut_apart
from mnist_cli.vision.sheets import cut_digit


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit in MNIST's form (28, 28), uint8, light on dark, and its box in the upright picture.

    ``remarks`` are sentences on parts of the file that were ignored or changed. ``left_out`` is the
    ink of the picture that is not a digit; the first digit of a picture has it.
    """

    path: str
    form: npt.NDArray[np.uint8]
    box: Box
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A picture or a folder that cannot be used, and the reason."""

    path: str
    error: DataError


def prepare(
    paths: Sequence[str], *, segment: bool = False, as_it_is: bool = False
) -> list[Digit | Failure]:
    """The digits of pictures, folders of pictures and ``-``; a :class:`Failure` for any other path.

    Args:
        paths: names of pictures and folders.
        segment: find several digits in each picture; by default all its ink is one digit.
        as_it_is: scale the whole picture to 28×28 with :func:`mnist_cli.vision.fitting.fit`,
            without looking for a digit.
    """
    results: list[Digit | Failure] = []
    for path in paths:
        try:
            pictures = expand(path)
        except DataError as error:
            results.append(Failure(path, error))
            continue
        for one in pictures:
            try:
                results += digits_in(read_picture(one), one, segment=segment, as_it_is=as_it_is)
            except DataError as error:
                results.append(Failure(one, error))
    return results


def digits_in(
    picture: Picture, path: str, *, segment: bool = False, as_it_is: bool = False
) -> list[Digit]:
    """The digits of one picture, in reading order; ``path`` is for messages.

    Other arguments as for :func:`prepare`.

    Raises:
        DataError: the picture is blank, or has no digits, or too many pieces of ink.
    """
    if as_it_is:
        return [_whole(picture, path)]
    try:
        levels = with_colour(picture.grey, picture.colour)
        page = cut_apart(levels) if segment else Page(cut_digit(levels), [])
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error
    digits = [
        Digit(path, to_form(one.levels), _own_pixels(one.box, picture.scale), picture.remarks)
        for one in page.cuts
    ]
    left_out = tuple(replace(one, box=_own_pixels(one.box, picture.scale)) for one in page.left_out)
    return [replace(digits[0], left_out=left_out), *digits[1:]]


def expand(path: str) -> list[str]:
    """The pictures of a folder, found by their endings, ``img2`` before ``img10``; or the name.

    Raises:
        DataError: a folder has no pictures, or cannot be read.
    """
    try:
        if path == STDIN or not is_folder(Path(path)):
            return [path]
        entries = sorted(Path(path).iterdir())
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", "Name a picture or a folder that you may read."
        ) from error
    names = [one for one in entries if is_picture_name(one)]
    if not names:
        subfolder = next((one for one in entries if one.is_dir()), None)
        raise DataError(
            f"no picture in the folder {path}",
            f"Subfolders are not read: name them, such as {subfolder}."
            if subfolder
            else f"Pictures end in {', '.join(sorted(ENDINGS))}.",
        )
    return [str(one) for one in sorted(names, key=_natural)]


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(word), "") if word.isdecimal() else (-1, word)
        for word in re.split(r"(\d+)", path.name)
    ]


def _whole(picture: Picture, path: str) -> Digit:
    height, width = picture.grey.shape
    box = _own_pixels(Box(0, 0, height, width), picture.scale)
    return Digit(path, fit(picture.grey), box, picture.remarks)


def _own_pixels(box: Box, scale: float) -> Box:
    return Box(*(round(scale * side) for side in (box.top, box.left, box.bottom, box.right)))
