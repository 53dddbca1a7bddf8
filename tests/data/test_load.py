"""From a name to two splits: on disk, fetched, bundled, and when which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import Made, lay

from mnist_cli import catalogue
from mnist_cli.data import fetch, idx, load
from mnist_cli.errors import DataError


@pytest.fixture
def on_disk(tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up set under the name of MNIST, flat in a folder."""
    lay(tmp_path, made.raw)
    found = catalogue.get
    monkeypatch.setattr(catalogue, "get", lambda n: made.spec if n == "mnist" else found(n))
    return tmp_path


def unreachable(*_: object, **__: object) -> None:
    raise DataError("no mirror can be reached", "Try again.")


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_what_is_on_disk_is_read_and_nothing_fetched(
    on_disk: Path, made: Made, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(fetch, "fetch", unreachable)
    said: list[str] = []
    data = load.load(name, on_disk, say=said.append)
    assert data.spec == made.spec
    for split in ("train", "test"):
        part = data.split(split)
        assert part.name == split
        assert torch.equal(part.images[:, 0], torch.from_numpy(made.arrays[split, "images"]))
        assert part.labels.tolist() == made.arrays[split, "labels"].tolist()
        assert part.indices.tolist() == list(range(len(part)))
    assert not data.fallback
    assert said == []
    assert (data.normalisation.mean, data.normalisation.std) == (0.5, 0.3)
    train = (made.arrays["train", "images"], made.arrays["train", "labels"].astype(np.int64))
    assert data.fingerprint == idx.fingerprint(*train)


def test_missing_files_are_fetched_and_it_is_said(
    on_disk: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "t10k-labels-idx1-ubyte"
    content = (on_disk / name).read_bytes()
    (on_disk / name).unlink()
    monkeypatch.setattr(fetch, "fetch", lambda _spec, root: (root / name).write_bytes(content))
    said: list[str] = []
    assert len(load.load("mnist", on_disk, say=said.append).test) == made.spec.test_count
    assert len(said) == 1
    assert "Made-up" in said[0]


def test_without_download_missing_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MNIST is not on disk"):
        load.load("mnist", tmp_path, download=False)


def test_only_auto_falls_back_to_the_bundled_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "fetch", unreachable)
    data = load.load("auto", tmp_path)
    assert data.spec.name == "digits"
    assert "no mirror can be reached" in data.fallback
    assert len(data.train) + len(data.test) == 1797
    with pytest.raises(DataError, match="no mirror can be reached"):
        load.load("mnist", tmp_path)


def test_damaged_files_are_reported_rather_than_replaced_by_the_digits(on_disk: Path) -> None:
    """MNIST is there, if broken: training on something else would hide it."""
    path = on_disk / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError):
        load.load("auto", on_disk)


def test_the_training_images_can_wait_until_they_are_asked_for(on_disk: Path, made: Made) -> None:
    path = on_disk / "train-labels-idx1-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    data = load.load("mnist", on_disk, whole=False)
    assert data.test.labels.tolist() == made.arrays["test", "labels"].tolist()
    with pytest.raises(DataError):
        data.split("train")
    path.write_bytes(whole)
    assert data.train.labels.tolist() == made.arrays["train", "labels"].tolist()
    assert data.train is data.train
