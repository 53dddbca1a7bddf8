"""Reads a picture, from a stranger, as grey levels.

The decoders that Pillow may use are named one by one: some of its others start programs, as
Ghostscript for EPS. A picture with more pixels than Pillow takes to be sane (89 million) is
refused by its header, before anything is unpacked.
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
ENDINGS = frozenset(
    f".{ending}"
    for ending in [
        "png",
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "mpo",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "webp",
        "pbm",
        "pgm",
        "ppm",
        "pnm",
    ]
)
STDIN = "-"
MAX_BYTES = 1 << 28  # 256 MiB: twice what the largest uncompressed photograph in use takes
WORKING_SIDE = 1600
"""Longest side to work at, in pixels: a line of 30 digits still has 50 pixels for each."""

_CONVERTIBLE = "PNG, JPEG, GIF, BMP, TIFF, WebP and PNM are read; convert it to one of them."


@dataclass(frozen=True)
class Picture:
    """Grey levels (H, W), float32, 0 is black and 255 white, upright.

    ``scale`` is how many pixels of the picture's own one of these is wide.
    """

    grey: npt.NDArray[np.float32]
    scale: float


def read_picture(path: str) -> Picture:
    """Read a picture from a file, or from standard input where ``path`` is ``-``.

    Turned upright as its EXIF says; what is transparent lies on white paper, or on black where
    nothing would be seen on white. At most :data:`WORKING_SIDE` pixels a side are kept.

    Raises:
        DataError: missing, unreadable, no picture, damaged, or too large.
    """
    return decode(_read_bytes(path), "standard input" if path == STDIN else path)


def _read_bytes(path: str) -> bytes:
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            if not is_regular(Path(path)):
                raise _no_file(path)
            with Path(path).open("rb") as file:
                # No more than there is: so much memory is taken before the first byte is read.
                size = os.fstat(file.fileno()).st_size
                data = file.read(min(size, MAX_BYTES) + 1)
    except OSError as error:
        raise DataError(f"cannot read the picture {path}: {error.strerror}") from error
    except ValueError as error:  # a null byte in a name
        raise DataError(f"{path!r} cannot be the name of a picture") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes", "Make the picture smaller.")
    return data


def _no_file(path: str) -> DataError:
    if not is_there(Path(path)):
        return DataError(f"there is no picture {path}")
    return DataError(
        f"{path} is not a regular file, but a pipe, a device or the like",
        "A picture that comes out of a program is read from stdin: name it -.",
    )


def decode(data: bytes, name: str) -> Picture:
    """As :func:`read_picture`, of bytes; ``name`` is what messages call them.

    Raises:
        DataError: no picture, damaged, or too large.
    """
    if not data:
        raise DataError(f"{name} is empty, no picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data)
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is no picture that can be read", _CONVERTIBLE) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} would unpack to more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels",
            "Make the picture smaller.",
        ) from error
    except Exception as error:
        # Damaged bytes make the decoders raise anything: OSError, SyntaxError, struct.error, …
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name} is a damaged picture: {reason:.200}", "Save it anew.") from error


def _decode(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width = image.width
        # JPEG alone can be decoded at a fraction of its size, which saves most of the time.
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        scale = width / image.width
        grey = _flatten(ImageOps.exif_transpose(image))
    factor = max(1.0, max(grey.size) / WORKING_SIDE)
    if factor > 1:
        size = (max(1, round(grey.width / factor)), max(1, round(grey.height / factor)))
        grey = grey.resize(size, Image.Resampling.BOX)
    return Picture(np.array(grey, dtype=np.float32), scale * factor)


def _flatten(image: Image.Image) -> Image.Image:
    """One band of grey, 0 to 255: of mode L, or F where there were more than 8 bits."""
    if image.mode.startswith("I;16"):
        return _rescaled(image, 0, 65535)
    if image.mode in ("I", "F"):
        return _rescaled(image, *_finite_range(image))
    if image.has_transparency_data:
        return _on_paper(image.convert("RGBA"))
    # A palette or CMYK has no direct way to grey levels.
    return image.convert("RGB").convert("L") if image.mode not in ("1", "L") else image.convert("L")


def _finite_range(image: Image.Image) -> tuple[float, float]:
    """The darkest and the lightest, since nothing says what 32 bits a pixel mean."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are not finite")
    return float(values.min()), float(values.max())


def _rescaled(image: Image.Image, low: float, high: float) -> Image.Image:
    values = (np.asarray(image, dtype=np.float64) - low) * (255 / max(high - low, 1e-30))
    return Image.fromarray(values.astype(np.float32))


def _on_paper(image: Image.Image) -> Image.Image:
    """Lay an RGBA picture on white, or on black where white shows nothing of it."""
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", image.size, paper)
        sheet.alpha_composite(image)
        grey = sheet.convert("L")
        low, high = grey.getextrema()
        if low != high:
            break
    return grey
