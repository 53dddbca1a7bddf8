"""Images as a call may give them: paths, pictures, arrays and tensors, alone or in a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnist_cli.api.cautions import caution
from mnist_cli.api.picture_names import refuse_others
from mnist_cli.api.run_folder import RunFolder
from mnist_cli.base.files import from_home
from mnist_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mnist_cli.inference.scorer import Forms
    from mnist_cli.vision.digits import Digit
    from mnist_cli.vision.pieces import Box
    from mnist_cli.vision.segmenting import LeftOut

FORMS = "Give 28×28 arrays, (N, 28, 28) or (N, 1, 28, 28), light on dark"
_LEVELS = "Give uint8 from 0 to 255, or floating point from 0 to 1."
MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Given:
    """One image for the network.

    Attributes:
        source: its path, or its place among the arguments, such as ``image 3``.
        form: (28, 28), uint8 or float32, 0 is black and 255 is white.
        box: of the digit in its picture; None for an array, which is not cropped.
        remarks: sentences on parts of the picture that were ignored or changed.
        left_out: ink that is not part of a digit.
    """

    source: str
    form: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    box: Box | None = None
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def prepared(images: object, *, segment: bool, whole: bool) -> list[Given]:
    """The images for the network, in the order in which they are given.

    Args:
        images: one image, or several.
        segment: find several digits in each picture.
        whole: use pictures whole, as the images of the training were.

    Raises:
        UsageError: something is not an image, or an array of another form.
        DataError: pictures that cannot be used; all are named.
    """
    found: list[Given] = []
    failures: list[DataError] = []
    for place, one in enumerate(_each(images), 1):
        try:
            found += _of_one(one, f"image {place}", segment=segment, whole=whole)
        except DataError as error:
            failures.append(error)
    if failures:
        raise _together(failures, len(found) + len(failures))
    return found


def _together(failures: list[DataError], count: int) -> DataError:
    if len(failures) == 1:
        return failures[0]
    named = "; ".join(error.message for error in failures[:MOST_NAMED])
    more = "; …" if len(failures) > MOST_NAMED else ""
    return DataError(
        f"{len(failures)} of {count} images cannot be used: {named}{more}", failures[0].hint
    )


def _each(images: object) -> Iterator[Any]:
    """One after the other, whether there is one or several."""
    if isinstance(images, RunFolder):
        raise UsageError(
            f"{images.path} is a run, not an image", "The images come first: predict(images, run)."
        )
    if isinstance(images, (str, os.PathLike)) or _is_array(images):
        yield images
    elif isinstance(images, Iterable) and not isinstance(images, (dict, bytes, bytearray)):
        yield from images
    else:
        raise _no_image(images)


def _is_array(value: object) -> bool:
    """Whether it is a picture, an array or a tensor, which may hold several images."""
    # PIL's is a property that decodes the picture, and raises if it cannot.
    absent = object()
    return any(
        getattr_static(value, name, absent) is not absent
        for name in ("__array__", "__array_interface__")
    )


def _no_image(value: object) -> UsageError:
    return UsageError(
        f"{value!r:.60} is not an image ({type(value).__name__})",
        "Give paths, PIL pictures, numpy arrays or tensors.",
    )


def _of_one(one: Any, source: str, *, segment: bool, whole: bool) -> list[Given]:
    if isinstance(one, (str, os.PathLike)):
        return _of_path(from_home(os.fsdecode(one)), segment=segment, whole=whole)
    if type(one).__module__.startswith("PIL.") or hasattr(one, "getexif"):
        return _of_picture(one, source, segment=segment, whole=whole)
    if not _is_array(one):
        raise _no_image(one)
    _refuse_segment(segment, "image of an array")
    forms = forms_of(one, source)
    return [Given(source if len(forms) == 1 else f"{source}[{n}]", f) for n, f in enumerate(forms)]


def _refuse_segment(segment: bool, of: str) -> None:
    if segment:
        raise UsageError(
            f"segment finds digits in pictures, but each {of} is one digit",
            "Omit segment, or give the path of a picture or a PIL picture.",
        )


# --- pictures: prepared as mnist predict does


def _of_path(path: str, *, segment: bool, whole: bool) -> list[Given]:
    from mnist_cli.inference.rows import holds_rows
    from mnist_cli.vision.digits import Failure, prepare

    if path in ("", "-"):
        raise UsageError(f"{path!r} is not the path of a picture", "Give a path, or a PIL picture.")
    refuse_others(
        [path], lambda _picture, run: f"The images come first: predict(images, {str(run)!r})."
    )
    if holds_rows(path):
        _refuse_segment(segment, f"row of {path}")
        return _of_rows(path)
    results = prepare([path], segment=segment, as_it_is=whole)
    failures = [one.error for one in results if isinstance(one, Failure)]
    if failures:
        raise _together(failures, len(results))
    return [_of_digit(one) for one in results if not isinstance(one, Failure)]


def _of_digit(digit: Digit) -> Given:
    return Given(digit.path, digit.form, digit.box, digit.remarks, digit.left_out)


def _of_rows(path: str) -> list[Given]:
    """The rows of a data file, unchanged."""
    from mnist_cli.data import own_files

    rows = own_files.read_images(path)
    for remark in rows.remarks:
        caution(f"{path}: {remark}")
    return [Given(f"{path}[{n}]", image) for n, image in enumerate(rows.images)]


def _of_picture(picture: Any, source: str, *, segment: bool, whole: bool) -> list[Given]:
    """The digits of a PIL picture, which is read as its file would be."""
    import io

    from mnist_cli.vision.digits import digits_in
    from mnist_cli.vision.image_files import decode

    buffer = io.BytesIO()
    kind = "TIFF" if picture.mode in ("F", "I", "CMYK", "LAB", "HSV", "YCbCr") else "PNG"
    try:
        shown = picture.convert("RGB") if picture.mode in ("LAB", "HSV", "YCbCr") else picture
        shown.save(buffer, format=kind, exif=picture.getexif())
    except (OSError, ValueError, SyntaxError, EOFError, AssertionError) as error:  # as PIL raises
        raise DataError(
            f"{source} cannot be read as a picture: {str(error) or 'its file is closed'}",
            "Give its path, or open it again.",
        ) from error
    name = str(getattr(picture, "filename", "") or source)
    digits = digits_in(decode(buffer.getvalue(), name), name, segment=segment, as_it_is=whole)
    return [_of_digit(one) for one in digits]


# --- arrays: in MNIST's form, taken as they are


def forms_of(given: Any, source: str) -> Forms:
    """Arrays or tensors as images (N, 28, 28), 0 is black and 255 is white.

    Whole numbers are levels from 0 to 255, and become uint8. Floating-point numbers are from 0
    to 1, and become float32 from 0 to 255; no digit is searched in them.

    Args:
        given: (28, 28), (1, 28, 28), (N, 28, 28) or (N, 1, 28, 28).
        source: for messages.

    Raises:
        UsageError: another shape, type or range.
        DataError: values that are not finite.
    """
    array = _array(given, source)
    if array.shape[-2:] != (28, 28) or array.ndim not in (2, 3, 4):
        raise UsageError(
            f"{source} has the shape {array.shape}, not the shape of MNIST's images",
            f"{FORMS}. A picture of another size can be given as a path or a PIL picture.",
        )
    if array.ndim == 4 and array.shape[1] != 1:
        raise UsageError(
            f"{source} has the shape {array.shape}, with {array.shape[1]} channels", f"{FORMS}."
        )
    images = array.reshape(-1, 28, 28)
    if not images.size:
        return images.astype(np.uint8)
    return _levels(images, source)


def _array(given: Any, source: str) -> npt.NDArray[Any]:
    try:
        if hasattr(given, "detach"):
            given = given.detach().cpu()
            if given.dtype.itemsize == 2 and given.is_floating_point():
                given = given.float()
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{source} is not an array of numbers: {error!s:.120}", f"{FORMS}."
        ) from error
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{source} is an array of {array.dtype}, not of grey levels", _LEVELS)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise DataError(f"{source} has masked values", "Fill them, as with array.filled(0).")
    return array


def _levels(images: npt.NDArray[Any], source: str) -> Forms:
    low, high = images.min(), images.max()
    if images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise DataError(
                f"{source} has values that are not finite", "Replace NaN and infinity by numbers."
            )
        if low < 0 or high > 1:
            raise UsageError(
                f"{source} has values from {low:.4g} to {high:.4g}, not from 0 to 1",
                "Divide levels of 0 to 255 by 255, and do not normalise: the network does.",
            )
        levels: Forms = images.astype(np.float32) * np.float32(255)
    else:
        if images.dtype.kind == "b":
            images = images.astype(np.uint8) * 255
        elif low < 0 or high > 255:
            raise UsageError(
                f"{source} has levels from {low} to {high}, not from 0 to 255", _LEVELS
            )
        elif high == 1:
            caution(
                f"{source} has the levels 0 and 1 of 255, which is black; for 0 and 1, use bool"
            )
        levels = images.astype(np.uint8)
    if float(levels.mean()) > 127:
        caution(f"{source} is mostly light, but MNIST's digits are light on dark: invert it")
    return levels
