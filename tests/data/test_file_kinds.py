"""Files of kinds that are not read: each is named, with the way out, and nothing of it is run."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import Proof, idx_arrays, idx_folder, refusal
from PIL import Image
from scipy.io import savemat

from mnist_cli.data.file_kinds import kind_of

X, Y = idx_arrays(size=(28, 28))


def buffered(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(**entries: bytes) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)

    return buffered(write)


def tarred() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("train.csv"))

    return buffered(write)


WHOLE = ((X, Y), (X, Y), (X, Y))
ARFF = b"% MNIST\n% of OpenML\n@RELATION mnist_784\n@ATTRIBUTE pixel1 real\n"
KINDS: dict[str, tuple[bytes, list[str]]] = {
    "a pickle": (
        gzip.compress(pickle.dumps(WHOLE)),
        ["is a pickle", "mnist data fetch", "joblib", "savez"],
    ),
    "an old pickle": (pickle.dumps({"x": [1]}, protocol=0), ["is a pickle"]),
    "a pickle of Python 2": (gzip.compress(pickle.dumps(WHOLE, protocol=2)), ["is a pickle"]),
    "MATLAB": (buffered(lambda f: savemat(f, {"x": X})), ["MATLAB", "scipy.io.loadmat"]),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), ["HDF5", "h5py.File"]),
    "ARFF": (ARFF, ["ARFF", "mnist data fetch mnist"]),
    "LIBSVM": (b"5 153:3 154:18 155:18\n0 128:51\n", ["LIBSVM", "load_svmlight_file"]),
    "TFRecord": (
        struct.pack("<QI", 300, 7) + b"\n\xd0\x02\n\x0f\n\x0dimage/encoded\x12" + bytes(300),
        ["TFRecord"],
    ),
    "npy": (buffered(lambda f: np.save(f, X)), ["NumPy array", "numpy.savez"]),
    "torch.save": (buffered(lambda f: torch.save({"x": torch.ones(2)}, f)), ["torch.save"]),
    "pictures in a zip": (
        zipped(mnist__train__0__1_dot_png=b"x"),
        ["is a zip archive of mnist/train/0/1.png", "Unpack it"],
    ),
    "Excel": (zipped(**{"[Content_Types]_dot_xml": b"x"}), ["Excel workbook", "as CSV"]),
    "an empty zip": (zipped(), ["is a zip archive"]),
    "a tar": (gzip.compress(tarred()), ["tar archive", "Unpack it"]),
    "bzip2": (bz2.compress(b"1,2"), ["bzip2", "Unpack it"]),
    "xz": (lzma.compress(b"1,2"), ["xz", "Unpack it"]),
    "a picture": (buffered(lambda f: Image.fromarray(X[0]).save(f, "PNG")), ["one picture"]),
    "a web page": (b"\n<!DOCTYPE html><html>Log in</html>", ["web page", "Download it again"]),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ["Git LFS"]),
    "git-annex": (b"/annex/objects/MD5E-s30--4d.npz\n", ["git-annex pointer", "annex get"]),
    "JSON": (b'{"train": []}', ["is JSON"]),
    "UTF-16": ("label,pixel0\n".encode("utf-16"), ["UTF-16", "UTF-8"]),
    "SQLite": (b"SQLite format 3\0" + bytes(100), ["SQLite"]),
    "Arrow": (b"ARROW1\0\0" + bytes(100), ["Arrow", "Parquet"]),
    "an Arrow stream": (b"\xff" * 4 + bytes(100), ["Arrow", "Parquet"]),
    "nothing": (b"", ["is empty"]),
    "noise": (bytes(range(7, 107)), ["is not a CSV", "07 08 09 0a"]),
    "a broken gzip": (b"\x1f\x8b" + bytes(50), ["gzip stream is damaged"]),
    "a broken zip": (b"PK\3\4" + bytes(50), ["damaged zip"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named_whatever_its_ending(tmp_path: Path, kind: str) -> None:
    content, words = KINDS[kind]
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    message = refusal(path)
    assert [word for word in (str(path), *words) if word not in message] == []
    assert all(ord(character) >= 32 or character == "\n" for character in message)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_never_runs(tmp_path: Path, protocol: int, packed: bool) -> None:
    content = pickle.dumps(Proof(tmp_path / "proof"), protocol=protocol)
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert "is a pickle" in refusal(path)
    assert not (tmp_path / "proof").exists()


def test_the_lines_that_convert_a_pickle_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(WHOLE)))
    lines = [line for line in refusal(path).splitlines() if "numpy" in line and "pickle" in line]
    lines += [line for line in refusal(path).splitlines() if line.startswith("numpy.savez")]
    exec("\n".join(lines))
    assert kind_of(tmp_path / "mnist.npz") == "npz"
    (tmp_path / "mnist.pkl").write_bytes(pickle.dumps({"train_img": [0]}))  # not that data set
    assert "gzip" not in refusal(tmp_path / "mnist.pkl")


def test_an_idx_file_names_its_folder(tmp_path: Path) -> None:
    path = idx_folder(tmp_path, {"train-images-idx3-ubyte.gz": X}) / "train-images-idx3-ubyte.gz"
    assert f"Name {tmp_path}." in refusal(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.csv")
