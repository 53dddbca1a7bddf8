"""Networks and data as a user has them: Python files, folders of pictures, IDX files; hostile parts."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_up import idx_bytes
from PIL import Image
from scipy import ndimage

from mnist_cli.data import own_data
from mnist_cli.errors import DataError

SHAPES = ("bar", "disc", "frame")

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.fc1 = nn.Linear(784, 100)
        self.fc2 = nn.Linear(100, classes)

    def forward(self, images):
        return self.fc2(self.fc1(images.view(-1, 784)).relu())
"""
"""784-100-10."""


def network_file(path: Path, source: str = NET) -> Path:
    """A Python file with this source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path


def body(forward: str, init: str = "", parameters: str = "self") -> str:
    """The source of a class ``Net`` with one linear layer and a forward of one expression."""
    return (
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        f"    def __init__({parameters}):\n        super().__init__()\n"
        f"        self.fc = nn.Linear(784, 10)\n{init}"
        f"    def forward(self, x):\n        return {forward}\n"
    )


def shape(kind: int, height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """A bright bar, disc or frame on dark ground, with noise: (height, width)."""
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
    inside = [
        abs(x) < 0.1,
        x**2 + y**2 < 0.1,
        (abs(x) < 0.4) & (abs(y) < 0.4) & ~((abs(x) < 0.25) & (abs(y) < 0.25)),
    ][kind]
    noise = np.random.default_rng(seed).integers(0, 40, (height, width))
    pixels: npt.NDArray[np.uint8] = (np.where(inside, 200, 10) + noise).astype(np.uint8)
    return pixels


def picture_folder(
    root: Path, count: int = 12, size: tuple[int, int] = (28, 28), classes: Any = SHAPES
) -> Path:
    """``root/CLASS/NNN.png``: so many shapes of each class, of (height, width)."""
    for kind, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = shape(kind % 3, *size, seed=1000 * kind + number)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


def refusal(path: Path) -> str:
    """Why the data in a folder are refused, with the way out."""
    with pytest.raises(DataError) as caught:
        own_data.read_own(path)
    assert caught.value.hint
    return str(caught.value)


def idx_arrays(
    count: int = 30, size: tuple[int, int] = (16, 20), seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (N, H, W) of shapes, and labels (N,), 0 to 2 in turn."""
    labels = (np.arange(count) % 3).astype(np.uint8)
    images = np.stack([shape(int(k), *size, seed=seed + i) for i, k in enumerate(labels)])
    return images, labels


def in_mnist_form(count: int, side: int = 20, *, centred: bool = True) -> npt.NDArray[np.uint8]:
    """Blobs of ink whose longer side is ``side``; placed by their centre of mass, or at a corner."""
    random, images = np.random.default_rng(0), np.zeros((count, 28, 28), dtype=np.uint8)
    for image in images:
        ink = np.zeros((side, int(random.integers(4, side + 1))))
        ink[[0, side - 1]] = 255
        ink[: side // 2] = random.integers(64, 256)
        corner = (0, 0)
        if centred:
            corner = tuple(round(14 - one) for one in ndimage.center_of_mass(ink))
        window = image[max(corner[0], 0) :, max(corner[1], 0) :]
        part = ink[: window.shape[0], : window.shape[1]]
        window[: part.shape[0], : part.shape[1]] = part
    return images


def idx_folder(root: Path, files: Mapping[str, npt.NDArray[Any]]) -> Path:
    """IDX files by their names, gzipped where the name says so."""
    root.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        content = idx_bytes(array)
        (root / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return root


def both_splits(root: Path, **options: Any) -> Path:
    """A whole data set of shapes in IDX files."""
    images, labels = idx_arrays(**options)
    tests = idx_arrays(**{"count": 12, **options, "seed": 500})
    return idx_folder(
        root,
        {
            "train-images-idx3-ubyte.gz": images,
            "train-labels-idx1-ubyte": labels,
            "t10k-images.idx3-ubyte": tests[0],
            "t10k-labels-idx1-ubyte.gz": tests[1],
        },
    )


class Proof:
    """Makes a folder when it is unpickled: what could do that could do anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def png_bomb() -> bytes:
    """A PNG of 100 bytes that says it has 10^10 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def npy_header(shape: str, dtype: str = "'|u1'", fortran: bool = False) -> bytes:
    """How a .npy file begins, by hand."""
    text = f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
