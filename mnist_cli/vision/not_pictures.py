"""Names the kind of a file by its content, if it is not a picture or cannot be read."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONVERT = "Convert it to PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF or PNM."


@dataclass(frozen=True)
class Kind:
    """The kind of a file in words, with its article, and how to get a picture instead."""

    what: str
    way_out: str


_DOWNLOAD = "Download the picture itself."
_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the picture", "Get it with: git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the picture", "Get it with: git annex get"),
    (b"bplist00", "a property list", _DOWNLOAD),
    (b"%PDF-", "a PDF document", "Save its page as a PNG file."),
    (b"%!PS", "a PostScript file", "Convert it to PNG."),
    (b"8BPS", "a Photoshop document", "Export it as PNG."),
    (b"gimp xcf", "a GIMP document", "Export it as PNG."),
    (
        b"\x00\x05\x16\x07",
        "a file that macOS adds to archives",
        "Name the file of the same name without '._'.",
    ),
    (b"\xff\x0a", "a JPEG XL picture", CONVERT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", CONVERT),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture", CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", CONVERT),
    (b"\x00\x00\x01\x00", "an icon", CONVERT),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy array", "Save it with PIL.Image.fromarray(array).save('digit.png')."),
    (b"PK\x03\x04", "a zip archive", "Unpack it, and name the pictures."),
    (b"\x1f\x8b", "a gzip file", "Unpack it."),
    (b"Rar!", "a RAR archive", "Unpack it, and name the pictures."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it, and name the pictures."),
)
_TEXTS = (
    (r"<!doctype html|<html[\s>]", "an HTML page, such as a failed download leaves", _DOWNLOAD),
    (r"<!doctype plist|<plist[\s>]", "a property list", _DOWNLOAD),
    (r"<svg[\s>]", "an SVG drawing", "Export it as PNG, for example with a browser or Inkscape."),
)
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIF; phones write HEIC, a kind of HEIF."""
    return bool(_HEIF & _brands(data)) and not is_avif(data)


def is_avif(data: bytes) -> bool:
    """Whether a file is AVIF."""
    return bool(_AVIF & _brands(data))


def _brands(data: bytes) -> set[bytes]:
    """The brands that the first box of an ISO media file names; none in other files."""
    if data[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(data[:4], "big"), 256)
    return {data[place : place + 4] for place in (8, *range(16, size - 3, 4))}


def kind_of(data: bytes) -> Kind | None:
    """The kind of a file by its first bytes; None if it is unknown."""
    for start, what, way_out in _STARTS:
        if data.startswith(start):
            return Kind(what, way_out)
    if is_heif(data) or is_avif(data):
        return Kind("HEIC or AVIF that cannot be decoded", CONVERT)
    if data[4:8] == b"ftyp":
        return Kind("a video", "Save a frame of it as a picture.")
    return _text_kind(data[:4096])


def _text_kind(head: bytes) -> Kind | None:
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the last character is cut off
            return None
        text = head[: error.start].decode("utf-8-sig")
    for pattern, what, way_out in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE):
            return Kind(what, way_out)
    if not text.strip() or any(ord(one) < 32 and one not in "\t\r\n\f" for one in text):
        return None
    if re.match(r"[^\n,;\t]*([,;\t][^\n,;\t]*){3}", text):
        return Kind("a table as text, such as CSV", "Name pictures.")
    return Kind("a text file", "Name a picture.")
