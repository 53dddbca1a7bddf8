"""Reads an untrusted picture file as grey levels.

Only the listed decoders of Pillow are used: others start programs, such as Ghostscript for EPS. If
the header claims more pixels than Pillow's limit of 89 million, the picture is refused before it
is unpacked. A JPEG may have :data:`MOST_JPEG` pixels, since its decoder reduces it row by row.
HEIF needs the package pillow-heif.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from mnist_cli.base.files import absence, is_regular, is_there
from mnist_cli.base.packages import installing
from mnist_cli.errors import DataError, first_line
from mnist_cli.vision.not_pictures import CONVERT, is_heif, kind_of

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".avif", ".heic", ".heif", ".hif"),
}
STDIN = "-"
_NAME = "Name a picture that you may read."
MAX_BYTES = 1 << 28  # 256 MiB: twice the size of the largest uncompressed photographs
WORKING_SIDE = 1600
"""Longest side after reduction, in pixels: a line of 30 digits still has 50 pixels for each."""
MOST_JPEG = 250_000_000
"""The largest number of pixels of a JPEG; phones take photographs of 200 million."""
DEPTHS = (255, 4095, 65535)
"""Possible values of white in a file with 16 bits per pixel: its values have 8, 12 or 16 bits."""
LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow's mode that unpacks the upper byte of 16-bit colours: the mode for the lower byte."""

STRETCHED = "values are stretched, the lowest to black and the highest to white"
FAINT = 0.25
"""White paper is used if ink stands out from it by this share of its contrast on black."""


@dataclass(frozen=True)
class Picture:
    """An upright picture.

    Attributes:
        grey: (H, W), float32, from 0 for black to 255 for white.
        scale: the width of one of these pixels in pixels of the file.
        colour: (H, W, 3), uint8, red, green and blue; None for a grey file.
        remarks: sentences on parts of the file that are ignored or changed.
    """

    grey: npt.NDArray[np.float32]
    scale: float
    colour: npt.NDArray[np.uint8] | None = None
    remarks: tuple[str, ...] = ()


def is_picture_name(path: Path) -> bool:
    """Whether a file in a folder counts as a picture: by its ending, if it is not hidden."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def read_picture(path: str) -> Picture:
    """Read a picture from a file, or from standard input if ``path`` is ``-``.

    EXIF data turn it upright. Transparent pictures get a white background, or a black one if white
    would hide the ink. Larger pictures are reduced to :data:`WORKING_SIDE` pixels. Only the first
    of several pages or frames is read.

    Raises:
        DataError: the file is missing, unreadable, not a picture, damaged, or too large.
    """
    return decode(_read_bytes(path), "standard input" if path == STDIN else path)


def is_missing(path: str) -> bool:
    """Whether nothing of this name exists; False if that cannot be determined."""
    try:
        return path != STDIN and not is_there(Path(path))
    except OSError:
        return False


def _read_bytes(path: str) -> bytes:
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            if not is_there(Path(path)):
                raise DataError(f"the picture {path} {absence(Path(path))}", "Check its path.")
            if not is_regular(Path(path)):
                raise DataError(
                    f"{path} is not a regular file, but a folder, a pipe or a device",
                    "To read a picture from a program, pipe it to standard input and name it -.",
                )
            with Path(path).open("rb") as file:
                # read() reserves memory for the requested number of bytes.
                size = os.fstat(file.fileno()).st_size
                data = file.read(min(size, MAX_BYTES) + 1)
    except OSError as error:
        raise DataError(f"cannot read the picture {path}: {error.strerror}", _NAME) from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes", "Make the picture smaller.")
    return data


def decode(data: bytes, name: str) -> Picture:
    """As :func:`read_picture`, from the bytes of a file; ``name`` is for messages.

    Raises:
        DataError: the bytes are not a picture, damaged, or too large.
    """
    if not data:
        raise DataError(f"{name} is empty", "Save or download it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data)
    except DataError as error:
        raise DataError(f"{name} {error.message}", error.hint) from error
    except UnidentifiedImageError as error:
        raise _unreadable(data, name) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} would unpack to more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels",
            f"Make the picture smaller. A JPEG may have {MOST_JPEG:,}, unless it is progressive.",
        ) from error
    except Exception as error:
        # On damaged bytes decoders raise OSError, SyntaxError, struct.error and others.
        raise DataError(
            f"{name} is a damaged picture: {first_line(error):.200}", "Save it again."
        ) from error


def _unreadable(data: bytes, name: str) -> DataError:
    kind = kind_of(data)
    if kind is None:
        return DataError(f"{name} is not a picture in a supported format", CONVERT)
    return DataError(
        f"{name} is {kind.what}, and not a picture in a supported format", kind.way_out
    )


def _decode(data: bytes) -> Picture:
    with _opened(data) as image:
        width, remarks = image.width, []
        # Only JPEG can be decoded at a fraction of its size, which saves most of the time.
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        scale = width / image.width
        if getattr(image, "is_animated", False) and image.format != "MPO":
            # The second picture of an MPO file is a preview, or for the other eye.
            remarks.append("only the first of several pages or frames is read")
        deep, depth = _with_lower_bytes(image, data)
        grey, colour, remark = _flatten(ImageOps.exif_transpose(deep))
    factor = max(1.0, max(grey.size) / WORKING_SIDE)
    return Picture(
        np.array(_reduced(grey, factor), dtype=np.float32),
        scale * factor,
        np.array(_reduced(colour, factor)) if colour is not None else None,
        (*remarks, *(one for one in (depth, remark) if one)),
    )


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture of a file, with its header read."""
    if is_heif(data):
        _prepare_heif()
    formats = ("HEIF",) if is_heif(data) else FORMATS
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        if not data.startswith(b"\xff\xd8\xff"):
            raise
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        # A progressive JPEG is held in memory as a whole, even if it is reduced.
        if image.width * image.height > MOST_JPEG or image.info.get("progressive"):
            raise
    with image:
        yield image


def _prepare_heif() -> None:
    """Let Pillow read HEIF.

    Raises:
        DataError: pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise DataError(
            "is a HEIC photograph, and the package pillow-heif, which reads it, is not installed",
            f"Install it with: {installing('pillow-heif')}. Or convert the picture to JPEG or PNG.",
        ) from error
    pillow_heif.register_heif_opener()


def _reduced(image: Image.Image, factor: float) -> Image.Image:
    if factor == 1:
        return image
    size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return image.resize(size, Image.Resampling.BOX)


def _flatten(image: Image.Image) -> tuple[Image.Image, Image.Image | None, str]:
    """Grey levels, 0 to 255 (mode L, or F for more than 8 bits); the RGB picture; a remark."""
    if image.mode.startswith("I;16"):
        return _sixteen_bits(image)
    if image.mode in ("I", "F"):
        return _rescaled(image, *_finite_range(image)), None, STRETCHED
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return image.convert("L"), None, ""
    if image.has_transparency_data:
        image = _on_paper(image.convert("RGBA"))
    # A palette or CMYK cannot be converted to grey levels directly.
    colour = image.convert("RGB")
    return colour.convert("L"), colour, ""


def _sixteen_bits(image: Image.Image) -> tuple[Image.Image, None, str]:
    """Grey levels by the actual depth of the values: programs save 8 or 12 bits in 16."""
    white, remark = _depth(int(np.asarray(image).max()))
    return _rescaled(image, 0, white), None, remark


def _depth(most: int) -> tuple[int, str]:
    """The value of white, from the largest 16-bit value; a remark if it has fewer bits."""
    white = next(one for one in DEPTHS if one >= most)
    bits = white.bit_length()
    return white, f"16-bit values are read as {bits}-bit" if bits < 16 else ""


def _with_lower_bytes(image: Image.Image, data: bytes) -> tuple[Image.Image, str]:
    """Reduce a PNG with 8- or 12-bit values in 16 bits to 8 bits; return other files unchanged.

    Pillow keeps only the upper byte of each value, which holds little or nothing in such a file.
    """
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return image, ""
    lower = LOWER.get(str(image.tile[0].args))
    if lower is None:
        return image, ""
    if np.asarray(image)[..., :3].max() > DEPTHS[1] >> 8:
        return image, ""
    upper = np.asarray(image).astype(np.uint16)
    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as other:
        other.tile = [one._replace(args=lower) for one in other.tile]
        values = 256 * upper + np.asarray(other)
    most = int(values[..., :3].max())
    if not most:  # black ink on transparency
        return image, ""
    white, remark = _depth(most)
    levels = values >> (white.bit_length() - 8)
    if values.max() > white:  # the alpha channel has all 16 bits
        levels[..., 3] = upper[..., 3]
    return Image.fromarray(levels.astype(np.uint8), image.mode), remark


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
    """Put an RGBA picture on white, or on black if white hides most of what black shows."""
    sheets = []
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", image.size, paper)
        sheet.alpha_composite(image)
        sheets.append((int(np.ptp(np.asarray(sheet.convert("L")))), sheet))
    (on_white, white), (on_black, black) = sheets
    return white if on_white >= FAINT * on_black else black
