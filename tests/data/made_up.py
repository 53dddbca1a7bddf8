"""Small data sets made on the spot."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mnist_cli.catalogue import DIGITS
from mnist_cli.catalogue.spec import Bundle, DatasetSpec, SourceFile

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    """Put files into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    """The format by hand, independent of the program's own writer."""
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@dataclass(frozen=True)
class Made:
    """A made-up data set: its table entry, its arrays, and its files by name."""

    spec: DatasetSpec
    arrays: dict[tuple[str, str], np.ndarray]
    raw: dict[str, bytes]
    archives: dict[str, bytes]

    def without_md5(self) -> Made:
        """The same set where only the archives' checksums are known, as with most real ones."""
        files = tuple(replace(file, md5=None) for file in self.spec.files)
        return replace(self, spec=replace(self.spec, files=files))

    def zipped(self) -> tuple[Made, bytes]:
        """The same set in a zip of which alone the checksum is known, as with EMNIST."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("gzip/../../evil", b"not ours")
            archive.writestr("gzip/emnist-letters.gz", b"not ours either")
            for name, content in self.archives.items():
                archive.writestr(f"gzip/{name}", content)
        content = buffer.getvalue()
        files = tuple(replace(file, md5=None, archive_md5=None) for file in self.spec.files)
        bundle = Bundle("gzip.zip", md5(content), "gzip/", 10_000_000)
        return replace(self, spec=replace(self.spec, files=files, bundle=bundle)), content


def make(train: int = 40, test: int = 15, seed: int = 0) -> Made:
    rng = np.random.default_rng(seed)
    arrays: dict[tuple[str, str], np.ndarray] = {}
    for split, count in (("train", train), ("test", test)):
        arrays[split, "images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[split, "labels"] = rng.integers(0, 10, count, dtype=np.uint8)
    raw = {NAMES[key]: idx_bytes(array) for key, array in arrays.items()}
    archives = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in raw.items()}
    files = tuple(
        SourceFile(split, kind, name, len(raw[name]), md5(archives[f"{name}.gz"]), md5(raw[name]))
        for (split, kind), name in NAMES.items()
    )
    spec = DatasetSpec(
        name="made",
        title="Made-up",
        classes=DIGITS,
        folder="MNIST",
        files=files,
        train_count=train,
        test_count=test,
        mean=0.5,
        std=0.3,
    )
    return Made(spec, arrays, raw, archives)
