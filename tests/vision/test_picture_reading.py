"""Pictures of every kind give the same grey levels; other files are refused with a reason."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import Pixels, encoded, seven
from PIL import Image, features
from systems import needs_posix

from mnist_cli.errors import DataError
from mnist_cli.vision import image_files
from mnist_cli.vision.digits import expand

DARK = seven()
KINDS_READ = [
    "PNG",
    "JPEG",
    "GIF",
    "TIFF",
    "BMP",
    "WEBP",
    *(["AVIF"] if features.check("avif") else []),
]


def grey_of(data: bytes) -> np.ndarray:
    return image_files.decode(data, "it").grey


def test_grey_levels_are_the_files() -> None:
    assert (grey_of(encoded(DARK)) == DARK).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "P", "1", "I;16", "I", "F"])
def test_modes_mean_the_same_picture(mode: str) -> None:
    if mode in ("I;16", "I", "F"):
        factor = {"I;16": (257, np.uint16), "I": (100_000, np.int32), "F": (1, np.float32)}[mode]
        image = Image.fromarray(DARK.astype(factor[1]) * factor[0])
    else:
        image = Image.fromarray(DARK).convert(mode, dither=Image.Dither.NONE)
    got = grey_of(encoded(image, "TIFF"))
    # 32 bits a pixel are stretched to their range, and one bit has no middle.
    rank = np.corrcoef(got.ravel(), DARK.ravel())[0, 1]
    assert rank > 0.99
    if mode not in ("1", "I", "F"):
        assert abs(got - DARK).max() <= 1


def test_exif_turns_it_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to view"
    turned = np.rot90(DARK)  # counterclockwise
    got = grey_of(encoded(np.ascontiguousarray(turned), exif=exif))
    assert (got == DARK).all()


@pytest.mark.parametrize("level", [0, 255])
def test_transparent_pixels_become_paper_of_the_other_colour(level: int) -> None:
    ink = 255 - DARK
    image = Image.merge("LA", [Image.new("L", (200, 200), level), Image.fromarray(ink)])
    got = grey_of(encoded(image))
    assert np.corrcoef(got.ravel(), ink.ravel())[0, 1] == pytest.approx(
        1 if level else -1, abs=1e-3
    )


def test_a_large_photograph_is_reduced_and_says_by_how_much() -> None:
    large = Image.fromarray(DARK).resize((4000, 3000))
    for kind in ("PNG", "JPEG"):
        picture = image_files.decode(encoded(large, kind), "it")
        height, width = picture.grey.shape
        assert max(height, width) <= image_files.WORKING_SIDE
        assert picture.scale * width == pytest.approx(4000, rel=0.01)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than anybody wants, in a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return (
        signature
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"hello", "supported format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "supported format"),
        (encoded(DARK)[:200], "damaged"),
        (bomb(10_000, 10_000), "89,478,485 pixels"),
        (bomb(100_000, 100_000), "89,478,485 pixels"),
    ],
)
def test_files_that_are_not_pictures(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match="it") as failure:
        image_files.decode(data, "it")
    assert said in failure.value.message


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS_READ), st.data())
def test_damage_is_never_a_crash(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(DARK[:40, :40], kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        assert image_files.decode(bytes(whole), "it").grey.ndim == 2


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.png"), str(tmp_path), "a\0b"):
        with pytest.raises(DataError):
            image_files.read_picture(name)


@needs_posix
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Reading a pipe or a device may never end."""
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("/dev/zero", str(tmp_path / "pipe.png")):
        with pytest.raises(DataError, match=f"{name} is not a regular file") as caught:
            image_files.read_picture(name)
        assert "standard input" in caught.value.hint


def test_folders_in_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "bar").mkdir()
    with pytest.raises(DataError, match="no picture in the folder") as caught:
        expand(str(tmp_path))
    assert caught.value.hint == f"Subfolders are not read: name them, such as {tmp_path}/bar."


def test_more_bytes_than_a_picture_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_BYTES", 10)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(encoded(DARK))))
    with pytest.raises(DataError, match="more than 10 bytes"):
        image_files.read_picture("-")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
KINDS = {
    "a Git LFS pointer": (LFS, "git lfs pull"),
    "a git-annex pointer": (b"/annex/objects/MD5E-s9--0.png\n", "git annex get"),
    "an HTML page": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "Download"),
    "a property list": (b'<?xml version="1.0"?>\n<plist version="1.0"></plist>', "Download"),
    "an SVG drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "Export"),
    "a PDF document": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "Save its page"),
    "a PostScript file": (b"%!PS-Adobe-3.0\n", "Convert"),
    "a table as text": (b"label,pixel0,pixel1,pixel2\n7,0,0,0\n", "Name pictures"),
    "a text file": ("hello, wörld".encode(), "Name a picture"),
    "a zip archive": (b"PK\x03\x04\x14\x00", "Unpack"),
    "a NumPy array": (b"\x93NUMPY\x01\x00", "Save"),
    "a JPEG XL picture": (b"\xff\x0a\xfa\x7f", "Convert"),
    "a video": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "frame"),
}


@pytest.mark.parametrize(("kind", "data", "way_out"), [(k, *v) for k, v in KINDS.items()])
def test_other_kinds_of_files_are_named(kind: str, data: bytes, way_out: str) -> None:
    with pytest.raises(DataError, match=f"it is {kind}") as caught:
        image_files.decode(data, "it")
    assert way_out in caught.value.hint


def test_heic_names_the_package_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"it is a HEIC photograph.* pillow-heif") as caught:
        image_files.decode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "it")
    assert "pip install pillow-heif" in caught.value.hint


def test_heic_is_read_whatever_its_ending() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(DARK).convert("RGB")).save(buffer, quality=90)
    assert abs(grey_of(buffer.getvalue()) - DARK).mean() < 5
    with pytest.raises(DataError, match="it"):
        image_files.decode(buffer.getvalue()[:400], "it")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read() -> None:
    assert abs(grey_of(encoded(Image.fromarray(DARK), "AVIF")) - DARK).mean() < 5


@pytest.mark.parametrize(("ink", "paper"), [(250, 0), (255, 0), (0, 255), (128, 255)])
def test_ink_on_transparency_gets_paper_that_shows_it(ink: int, paper: int) -> None:
    alpha = Image.fromarray(255 - DARK)
    image = Image.merge("RGBA", [*[Image.new("L", (200, 200), ink)] * 3, alpha])
    got = grey_of(encoded(image))
    assert abs(got[0, 0] - paper) < 20
    assert np.ptp(got) > 100


def test_an_opaque_page_with_transparent_corners_keeps_its_paper() -> None:
    alpha = np.full((200, 200), 255, np.uint8)
    alpha[:9, :9] = 0
    image = Image.merge("LA", [Image.fromarray(DARK), Image.fromarray(alpha)])
    assert grey_of(encoded(image))[0, 0] == 255


@pytest.mark.parametrize(("bits", "kind"), [(8, "PNG"), (12, "PNG"), (12, "TIFF"), (16, "PNG")])
def test_sixteen_bits_are_read_by_what_they_hold(bits: int, kind: str) -> None:
    levels = (DARK.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    levels[0, 0] = 2**bits - 1
    picture = image_files.decode(encoded(levels, kind), "it")
    assert abs(picture.grey - DARK)[1:].max() <= 1
    assert picture.remarks == (() if bits == 16 else (f"16-bit values are read as {bits}-bit",))


def deep_png(levels: Pixels, alpha: int | None) -> bytes:
    """A PNG file with 16 bits per colour, which Pillow does not write."""
    bands = [levels] * 3 + ([] if alpha is None else [np.full_like(levels, alpha)])
    rows = np.stack(bands, axis=2).astype(">u2")
    size = struct.pack(">IIBB3x", levels.shape[1], levels.shape[0], 16, 2 if alpha is None else 6)
    parts = {
        b"IHDR": size,
        b"IDAT": zlib.compress(b"".join(b"\0" + one.tobytes() for one in rows)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("opaque", [None, "as bright", "all bits"])
def test_sixteen_bits_per_colour_are_read_by_what_they_hold(bits: int, opaque: str | None) -> None:
    most = 2**bits - 1
    levels = (DARK.astype(np.uint32) * most // 255).astype(np.uint16)
    levels[0, 0] = most
    alpha = {None: None, "as bright": most, "all bits": 65535}[opaque]
    picture = image_files.decode(deep_png(levels, alpha), "it")
    assert abs(picture.grey - DARK)[1:].max() <= 1
    assert bool(picture.remarks) == (bits < 16)


def test_black_ink_on_transparency_has_no_depth() -> None:
    assert not image_files.decode(deep_png(np.zeros((9, 9), np.uint16), 65535), "it").remarks


def test_floats_that_are_not_finite_are_said_to_be() -> None:
    levels = DARK.astype(np.float32)
    assert image_files.decode(encoded(levels, "TIFF"), "it").remarks == (image_files.STRETCHED,)
    levels[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        grey_of(encoded(levels, "TIFF"))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_further_pages_and_frames_are_said_not_to_be_read(kind: str) -> None:
    first, second = (Image.fromarray(one) for one in (DARK, 255 - DARK))
    options = {"lossless": True} if kind == "WEBP" else {}
    several = encoded(first, kind, save_all=True, append_images=[second], **options)
    picture = image_files.decode(several, "it")
    assert abs(picture.grey - DARK).max() <= 1
    assert picture.remarks == ("only the first of several pages or frames is read",)
    assert image_files.decode(encoded(first, kind, **options), "it").remarks == ()


def test_a_photograph_of_108_megapixels_is_reduced_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With small limits, since such a picture takes seconds; only a JPEG is reduced."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    monkeypatch.setattr(image_files, "MOST_JPEG", 100_000)
    monkeypatch.setattr(image_files, "WORKING_SIDE", 50)
    picture = image_files.decode(encoded(Image.fromarray(DARK), "JPEG"), "it")
    assert picture.grey.shape == (50, 50)
    assert picture.scale == 4
    large = Image.fromarray(DARK).resize((400, 400))
    progressive = encoded(Image.fromarray(DARK), "JPEG", progressive=True)
    for data in (encoded(DARK), progressive, encoded(large, "JPEG")):
        with pytest.raises(DataError, match="20,000 pixels"):
            image_files.decode(data, "it")


def test_hidden_files_in_a_folder_are_no_pictures(tmp_path: Path) -> None:
    """macOS adds a ._3.png to each 3.png in an archive."""
    for name in ("3.png", "._3.png", ".hidden.png"):
        (tmp_path / name).write_bytes(encoded(DARK))
    assert expand(str(tmp_path)) == [str(tmp_path / "3.png")]
