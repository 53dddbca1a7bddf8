"""IDX files of the user's own: other sizes, other classes, other names, and what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import both_splits, idx_arrays, idx_folder, picture_folder, refusal
from systems import needs_permissions

from mnist_cli.data import own_data
from mnist_cli.data.load import load


def test_other_sizes_and_classes(tmp_path: Path) -> None:
    data = own_data.read_own(both_splits(tmp_path / "shapes"))
    assert data.train.images.shape == (30, 28, 28)
    assert data.test.images.shape == (12, 28, 28)
    assert data.train.labels.tolist() == [0, 1, 2] * 10
    assert data.spec.classes == ("0", "1", "2")
    assert data.spec.name == str(tmp_path / "shapes")
    assert data.spec.title == "shapes"
    (remark,) = data.remarks
    assert remark.startswith("images are 20×16: the longer side is scaled to 28")
    larger, _ = idx_arrays(count=12, size=(40, 30))
    idx_folder(tmp_path / "shapes", {"t10k-images.idx3-ubyte": larger})
    (first, second) = own_data.read_own(tmp_path / "shapes").remarks
    assert first == f"training images: {remark}"
    assert second.startswith("test images: images are 30×40: ")


@needs_permissions
def test_what_may_not_be_read_beside_the_files_stops_nothing(tmp_path: Path) -> None:
    folder = both_splits(tmp_path / "x", size=(28, 28))
    (folder / "private").mkdir(mode=0)
    (folder / "notes.csv").touch(mode=0)
    picture_folder(folder / "pictures", 1)
    assert own_data.read_own(folder).remarks == ("not used: pictures/",)


def test_of_28_by_28_every_byte_is_kept_and_the_figures_are_exact(tmp_path: Path) -> None:
    images, labels = idx_arrays(size=(28, 28))
    data = own_data.read_own(both_splits(tmp_path / "shapes", size=(28, 28)))
    assert np.array_equal(data.train.images, images)
    assert np.array_equal(data.train.labels, labels)
    assert data.remarks == ()
    assert data.spec.mean == pytest.approx(images.mean() / 255, rel=1e-12)
    assert data.spec.std == pytest.approx(images.std() / 255, rel=1e-12)


def test_labels_are_counted_from_0_and_named_as_they_were(tmp_path: Path) -> None:
    images, labels = idx_arrays()
    values = np.array([3, 7, 200], dtype=np.uint8)[labels]
    folder = idx_folder(
        tmp_path / "x",
        {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": values},
    )
    data = own_data.read_own(folder)
    assert data.spec.classes == ("3", "7", "200")
    assert set(data.train.labels.tolist()) == {0, 1, 2}
    assert any("3 numbers from 3 to 200" in remark for remark in data.remarks)


@pytest.mark.parametrize("inner", ["raw", "MNIST/raw"])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_torchvisions_folders_and_emnists_names(tmp_path: Path, inner: str, prefix: str) -> None:
    images, labels = idx_arrays()
    names = [f"{prefix}train-images-idx3-ubyte.gz", f"{prefix}train-labels-idx1-ubyte.gz"]
    idx_folder(tmp_path / inner, dict(zip(names, (images, labels), strict=True)))
    data = own_data.read_own(tmp_path)
    assert len(data.train) + len(data.test) == 30
    assert {path.name for path in own_data.locate(tmp_path)} == set(names)
    shutil.copytree(tmp_path / inner, tmp_path / "KMNIST" / "raw")
    if inner == "raw":
        assert own_data.locate(tmp_path)[0].parent == tmp_path / inner
    else:
        assert "has several data sets, in KMNIST/raw/, MNIST/raw/" in refusal(tmp_path)


def test_loading_says_what_was_done(tmp_path: Path) -> None:
    said: list[str] = []
    data = load(str(both_splits(tmp_path / "shapes")), Path("nowhere"), say=said.append)
    counts = "3 classes, training + test images: 0 10 + 4, 1 10 + 4, 2 10 + 4"
    assert said == [f"shapes: {remark}" for remark in (counts, *data.remarks)]
    assert data.remarks
    assert data.fingerprint == load(str(tmp_path / "shapes"), Path()).fingerprint
    assert data.train.images.shape == (30, 1, 28, 28)
    assert (data.normalisation.mean, data.normalisation.std) == (data.spec.mean, data.spec.std)


def files(**changes: Any) -> dict[str, Any]:
    images, labels = idx_arrays()
    parts = {
        "train-images-idx3-ubyte": images,
        "train-labels-idx1-ubyte": labels,
        "t10k-images-idx3-ubyte": images,
        "t10k-labels-idx1-ubyte": labels,
    }
    for key, value in changes.items():
        (name,) = (name for name in parts if name.startswith(key.replace("_", "-")))
        parts[name] = value
    return {name: array for name, array in parts.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": None}, ["no train-labels-…", "Needed are train-images-idx3-ubyte"]),
        ({"t10k_images": None}, ["no t10k-images-…"]),
        ({"train_labels": np.zeros(29, np.uint8)}, ["30 images in", "29 labels in"]),
        ({"train_images": np.zeros((30, 3, 9, 9), np.uint8)}, ["(30, 3, 9, 9)", "grey images"]),
        ({"train_images": np.zeros((30, 3, 9), np.uint8)}, ["9×3 pixels", "4 to 1024"]),
        ({"train_labels": np.zeros((30, 2), np.uint8)}, ["labels are whole numbers of shape"]),
        ({"t10k_labels": np.full(30, 9, np.uint8)}, ["label 9 at position 0", "classes are 0, 1"]),
        ({"train_labels": np.zeros(30, np.uint8)}, ["only the class '0'", "2 to 1,000"]),
        ({"train_images": np.full((30, 9, 9), 5, np.uint8)}, ["the same grey"]),
    ],
)
def test_what_does_not_fit(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    if "train_labels" in changes and "t10k_labels" not in changes:
        changes = {**changes, "t10k_labels": np.zeros(30, np.uint8)}
    message = refusal(idx_folder(tmp_path / "x", files(**changes)))
    assert all(word in message for word in words), message


def test_several_data_sets_in_a_folder(tmp_path: Path) -> None:
    idx_folder(tmp_path / "x", files())
    idx_folder(tmp_path / "x", {f"emnist-letters-{name}": array for name, array in files().items()})
    assert "several data sets" in refusal(tmp_path / "x")
    assert "emnist-letters" in refusal(tmp_path / "x")


def test_a_bomb_of_tiny_images_is_refused_before_they_are_enlarged(tmp_path: Path) -> None:
    """Two million images of 16 bytes would be 1.6 GB of 28×28."""
    folder = idx_folder(
        tmp_path / "x",
        {
            "train-images-idx3-ubyte.gz": np.zeros((1_000_001, 4, 4), np.uint8),
            "train-labels-idx1-ubyte.gz": np.zeros(1_000_001, np.uint8),
        },
    )
    assert "more than the 1,000,000 images" in refusal(folder)
