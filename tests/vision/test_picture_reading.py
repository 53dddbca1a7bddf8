"""Pictures of every kind give the same grey levels; other files are refused with a reason."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, seven
from PIL import Image
from systems import needs_posix

from mnist_cli.errors import DataError
from mnist_cli.vision import image_files
from mnist_cli.vision.digits import expand

DARK = seven()


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
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]), st.data())
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
