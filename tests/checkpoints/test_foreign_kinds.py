"""Files that are no checkpoints: each kind is named, with a way out that can be followed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import refused, saved, tar_of, zip_of
from PIL import Image

from mnist_cli.checkpoints.archive import load_archive
from mnist_cli.checkpoints.checkpoint import read
from mnist_cli.errors import CheckpointError

SAVED = saved({"a": torch.ones(2)})


def named(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of entries with these names."""
    content = {name: b"\x80\x02}." if name.endswith("pkl") else b"x" * 100 for name in names}
    return zip_of(content, compression)


SCRIPTED = ("m/data/0", "m/data.pkl", "m/code/__torch__/net.py", "m/constants.pkl", "m/version")
EXPORTED = ("m/data/weights/weight_0", "m/models/model.json", "m/data/sample_inputs/model.pt")
"""Entries as torch 2.14 names them."""


def arrays(save: Callable[..., None], *values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    save(buffer, *values)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, kind)
    return buffer.getvalue()


def joblib_like(compress: bool) -> bytes:
    """joblib's wrapper, after whose pickle the array's bytes lie in the middle of the file."""
    data = b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b" + bytes(40) + b"."
    return zlib.compress(data) if compress else data


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 4819\n" % (b"0" * 64)
DOWNLOAD, LOST = "the button for the raw file", "Only PyTorch's weights are read"
KINDS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "nothing": (lambda: b"", "it is empty", "download it again"),
    "Git LFS": (lambda: LFS, "a Git LFS pointer", "git lfs pull"),
    "git-annex": (lambda: b"/annex/objects/MD5E-s9--0.pt\n", "a git-annex pointer", "annex get"),
    "a web page": (lambda: b"\n\n<!DOCTYPE html>\n<html>", "a web page", DOWNLOAD),
    "a web page in capitals": (lambda: b"<HTML><HEAD>", "a web page", DOWNLOAD),
    "a page after a byte order mark": (lambda: b"\xef\xbb\xbf<html>", "a web page", DOWNLOAD),
    "a server's error": (lambda: b"<?xml version='1.0'?><Error>", "XML", DOWNLOAD),
    "a JSON answer": (lambda: b'{"message": "Not Found"}', "JSON text", DOWNLOAD),
    "JSON that looks like safetensors": (lambda: b'{"data":{"a": 1}}', "JSON text", DOWNLOAD),
    "a title": (lambda: b"<title>Sign in</title>", "a web page", DOWNLOAD),
    "OpenVINO": (lambda: b'<?xml version="1.0"?>\n<net name="m">', "an OpenVINO model", ""),
    "MATLAB 7.3": (lambda: b"MATLAB 7.3 MAT-file", "a MATLAB file", ""),
    "an index": (
        lambda: b'{"metadata": {"total_size": 1}, "weight_map": {}}',
        "an index of several files",
        "Join the files",
    ),
    "a notebook of 2012": (
        lambda: b'{"metadata": {"name": ""}, "nbformat": 3}',
        "a Jupyter notebook",
        "",
    ),
    "a JSON list": (lambda: b"[1, 2]", "JSON text", DOWNLOAD),
    "a notebook": (lambda: json.dumps({"cells": []}).encode(), "a Jupyter notebook", ""),
    "a text": (lambda: b"404: Not Found", "it is text", DOWNLOAD),
    "a run's recipe": (
        lambda: b'dataset = "digits"\n',
        "it is text",
        "Name a run or its checkpoint",
    ),
    "a script": (lambda: b"import torch\n", "a Python script", ""),
    "zeros": (lambda: bytes(5000), "zeros", ""),
    "noise": (
        lambda: b"\x9c\x01\x07\xee" * 50,
        "its format is unknown; its first bytes are 9c 01",
        "comes from",
    ),
    "ONNX": (
        lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:\x10",
        "an ONNX model",
        "torch.save(model.state_dict()",
    ),
    "TorchScript": (
        lambda: named(*SCRIPTED),
        "a TorchScript archive",
        "torch.jit.load",
    ),
    "TorchScript, compressed": (
        lambda: named(*SCRIPTED, compression=zipfile.ZIP_DEFLATED),
        "a TorchScript archive",
        "torch.jit.load",
    ),
    "torch.export": (lambda: named(*EXPORTED), "a torch.export program", "torch.export.load"),
    "torch.export, older": (
        lambda: named("serialized_exported_program.json", "version"),
        "a torch.export program",
        "torch.export.load",
    ),
    "Keras, HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(9), "a Keras or HDF5 file", LOST),
    "Keras": (lambda: named("metadata.json", "model.weights.h5"), "a Keras model", LOST),
    "TensorFlow": (lambda: b"\x08\x01\x12\x90\x05\n", "a TensorFlow model", LOST),
    "TensorFlow's graph": (
        lambda: b"\n\x1b\n\x05input\x12\x0bPlaceholder*\x0b",
        "a TensorFlow model",
        LOST,
    ),
    "TensorFlow Lite": (lambda: b"\x1c\0\0\0TFL3" + bytes(9), "a TensorFlow Lite model", LOST),
    "TensorFlow's checkpoint": (
        lambda: b"\0\0\xab\x08" + bytes(50) + bytes.fromhex("57fb808b247547db"),
        "a TensorFlow checkpoint",
        LOST,
    ),
    "npy": (lambda: arrays(np.save, np.ones(2)), "a numpy array", "torch.save"),
    "npz": (lambda: arrays(np.savez, np.ones(2)), "a file of numpy arrays", "torch.from_numpy"),
    "npz, compressed": (
        lambda: arrays(np.savez_compressed, np.ones(2)),
        "a file of numpy arrays",
        "",
    ),
    "joblib": (lambda: joblib_like(False), "an object of joblib", LOST),
    "joblib, compressed": (lambda: joblib_like(True), "an object of joblib", LOST),
    "GGUF": (lambda: b"GGUF\x03\0\0\0" + bytes(20), "a GGUF file", LOST),
    "gzip": (lambda: gzip.compress(SAVED), "a gzip archive", "Unpack"),
    "bzip2": (lambda: bz2.compress(SAVED), "a bzip2 archive", "Unpack"),
    "xz": (lambda: lzma.compress(SAVED), "an xz archive", "Unpack"),
    "lzma": (lambda: lzma.compress(SAVED, lzma.FORMAT_ALONE), "an lzma archive", "Unpack"),
    "a tar": (lambda: tar_of({"model.pt": b""}), "a tar archive", "Unpack"),
    "a zip": (lambda: named("run/model.pt"), "a zip around a checkpoint", "Unpack"),
    "a zip, compressed": (
        lambda: named("model.safetensors", compression=zipfile.ZIP_DEFLATED),
        "a zip around a checkpoint",
        "Unpack",
    ),
    "a zip of something else": (lambda: named("a.txt"), "not one that torch.save wrote", ""),
    "an empty zip": (named, "an empty zip", ""),
    "PNG": (lambda: picture("PNG"), "a PNG picture", "predict"),
    "JPEG": (lambda: picture("JPEG"), "a JPEG picture", "predict"),
    "MNIST's own files": (lambda: struct.pack(">4i", 2051, 1, 28, 28), "an IDX file", ""),
    "a set in a pickle": (lambda: pickle.dumps({1}), "holds a set", ""),
    "a model of scikit-learn": (
        lambda: b"\x80\x04\x8c\x14sklearn.svm._classes\x8c\x03SVC\x93)\x81}b.",
        "holds a sklearn.svm._classes.SVC",
        LOST,
    ),
    "a distributed checkpoint": (lambda: SAVED + SAVED, "several zips", "dcp_to_torch FOLDER"),
    "one that zipfile refuses": (
        lambda: SAVED + SAVED.replace(b"PK\1\2", b"PK\1\3"),
        "several zips",
        "dcp_to_torch FOLDER",
    ),
    "its metadata": (
        lambda: b"ctorch.distributed.checkpoint.metadata\nMetadata\n.",
        "which could run code",
        "full_state_dict=True",
    ),
    "weights from pickle.dump": (
        lambda: pickle.dumps({"a": torch.ones(2)}),
        "was written by pickle.dump",
        "torch.save(pickle.load",
    ),
}


@pytest.mark.parametrize("case", KINDS)
def test_each_kind_is_named_with_a_way_out(tmp_path: Path, case: str) -> None:
    make, words, hint = KINDS[case]
    error = refused(tmp_path, make())
    assert words in error.message
    assert hint in error.hint


def test_a_damaged_checkpoint_is_not_named_as_something_else(tmp_path: Path) -> None:
    for length in (100, len(SAVED) // 2, len(SAVED) - 10):
        assert "damaged or cut short" in refused(tmp_path, SAVED[:length]).message


def test_a_text_cannot_control_the_terminal(tmp_path: Path) -> None:
    message = refused(tmp_path, "\x1b[2Jnot\x9b found".encode()).message
    assert message.isprintable()


def dump(document: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(document))


@pytest.mark.parametrize("save", [torch.save, dump])
@pytest.mark.parametrize(
    "document", [torch.nn.Linear(2, 3), {"a.b": [1, {"net's": torch.nn.Linear(2, 3)}]}]
)
def test_the_two_lines_for_a_whole_module_convert_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any, save: Callable[..., None]
) -> None:
    path = tmp_path / "whole.pt"
    save(document, path)
    with pytest.raises(CheckpointError, match="a whole pickled network") as caught:
        read(path)
    lines = [line.strip() for line in caught.value.hint.splitlines() if line.startswith("  ")]
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {})
    assert load_archive(tmp_path / "weights.pt").document.keys() == {"weight", "bias"}
