"""Checkpoints as bytes: as torch writes them, in a zip or a tar, changed, read and refused."""

from __future__ import annotations

import copy
import io
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.checkpoints.archive import load_archive
from mnist_cli.checkpoints.contents import Contents
from mnist_cli.errors import CheckpointError


def saved(document: Any, **how: Any) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of typed storages and protocols
        torch.save(document, buffer, **how)
    return buffer.getvalue()


def saved_long_ago(document: Any, **how: Any) -> bytes:
    """As torch.save wrote it before 1.6."""
    return saved(document, _use_new_zipfile_serialization=False, **how)


def zip_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def replaced(original: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at ``path`` (keys by slashes) replaced."""
    changed = copy.deepcopy(original)
    *parents, last = path.split("/")
    inner: Any = changed
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return changed


def load(tmp_path: Path, data: bytes) -> Contents:
    """What a file of these bytes holds."""
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    return load_archive(path)


def refused(tmp_path: Path, data: bytes) -> CheckpointError:
    """Why a file of these bytes is refused: it is named, with a way out that runs nothing."""
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, data)
    assert str(tmp_path / "a.pt") in caught.value.message
    assert caught.value.hint
    if "a whole pickled network" not in caught.value.message:
        assert "weights_only" not in str(caught.value)  # torch's own advice: to load it unsafely
    assert str(caught.value).replace("\n", "").isprintable()
    return caught.value
