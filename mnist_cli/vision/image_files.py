"""Reads an untrusted picture file as grey levels.

Only the listed decoders of Pillow are used: others start programs, such as Ghostscript for EPS. A
picture with more than Pillow's limit of 89 million pixels is refused by its header, before
anything is unpacked.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_cli.base.files import is_regular, is_there
from mnist_cli.errors import DataError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
}
STDIN = "-"
MAX_BYTES = 1 << 28  # 256 MiB: twice the size of the largest uncompressed photographs
WORKING_SIDE = 1600
"""Longest side to work at, in pixels: a line of 30 digits still has 50 pixels for each."""

_SUPPORTED = "Convert it to PNG, JPEG, GIF, BMP, TIFF, WebP or PNM."


@dataclass(frozen=True)
class Picture:
    """Upright grey levels (H, W), float32, from 0 for black to 255 for white.

    ``scale`` is the width of one of these pixels in pixels of the file.
    """

    grey: npt.NDArray[np.float32]
    scale: float


def read_picture(path: str) -> Picture:
    """Read a picture from a file, or from standard input if ``path`` is ``-``.

    It is turned upright by its EXIF data. Transparent pictures get a white background, or a black
    one if white would hide everything. Larger pictures are reduced to :data:`WORKING_SIDE` pixels.

    Raises:
        DataError: missing, unreadable, not a picture, damaged, or too large.
    """
    return decode(_read_bytes(path), "standard input" if path == STDIN else path)


def _read_bytes(path: str) -> bytes:
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            if not is_there(Path(path)):
                raise DataError(f"the picture {path} does not exist")
            if not is_regular(Path(path)):
                raise DataError(
                    f"{path} is not a regular file, but a folder, a pipe or a device",
                    "To read a picture from a program, pipe it to standard input and name it -.",
                )
            with Path(path).open("rb") as file:
                # read() reserves memory for the number of bytes that it is asked for.
                size = os.fstat(file.fileno()).st_size
                data = file.read(min(size, MAX_BYTES) + 1)
    except OSError as error:
        raise DataError(f"cannot read the picture {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes", "Make the picture smaller.")
    return data


def decode(data: bytes, name: str) -> Picture:
    """As :func:`read_picture`, from the bytes of a file; ``name`` is for messages.

    Raises:
        DataError: not a picture, damaged, or too large.
    """
    if not data:
        raise DataError(f"{name} is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data)
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not a picture in a supported format", _SUPPORTED) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} would unpack to more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels",
            "Make the picture smaller.",
        ) from error
    except Exception as error:
        # On damaged bytes decoders raise OSError, SyntaxError, struct.error and others.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name} is a damaged picture: {reason:.200}", "Save it again.") from error


def _decode(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width = image.width
        # Only JPEG can be decoded at a fraction of its size, which saves most of the time.
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        scale = width / image.width
        grey = _flatten(ImageOps.exif_transpose(image))
    factor = max(1.0, max(grey.size) / WORKING_SIDE)
    if factor > 1:
        size = (max(1, round(grey.width / factor)), max(1, round(grey.height / factor)))
        grey = grey.resize(size, Image.Resampling.BOX)
    return Picture(np.array(grey, dtype=np.float32), scale * factor)


def _flatten(image: Image.Image) -> Image.Image:
    """One band of grey, 0 to 255: mode L, or F if the file has more than 8 bits."""
    if image.mode.startswith("I;16"):
        return _rescaled(image, 0, 65535)
    if image.mode in ("I", "F"):
        return _rescaled(image, *_finite_range(image))
    if image.has_transparency_data:
        return _on_paper(image.convert("RGBA"))
    # A palette or CMYK cannot be converted to grey levels directly.
    return image.convert("RGB").convert("L") if image.mode not in ("1", "L") else image.convert("L")


def _finite_range(image: Image.Image) -> tuple[float, float]:
    """The extremes: files with 32 bits per pixel do not define black and white."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some pixels are not finite")
    return float(values.min()), float(values.max())


def _rescaled(image: Image.Image, low: float, high: float) -> Image.Image:
    values = (np.asarray(image, dtype=np.float64) - low) * (255 / max(high - low, 1e-30))
    return Image.fromarray(values.astype(np.float32))


def _on_paper(image: Image.Image) -> Image.Image:
    """Put an RGBA picture on white, or on black if white hides everything."""
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", image.size, paper)
        sheet.alpha_composite(image)
        grey = sheet.convert("L")
        low, high = grey.getextrema()
        if low != high:
            break
    return grey
