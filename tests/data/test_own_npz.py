"""npz files as Keras, MedMNIST and others name their arrays; objects, false headers, damage."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import Proof, idx_arrays, npy_header, refusal

from mnist_cli.data import own_data, own_files, own_npz
from mnist_cli.errors import DataError

X, Y = idx_arrays(size=(28, 28))
TEST_X, TEST_Y = idx_arrays(12, (28, 28), seed=500)


def saved(folder: Path, compressed: bool = False, **arrays: Any) -> Path:
    path = folder / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("trainImages", "trainLabels", "testImages", "testLabels"),
        ("training_images", "training_labels", "testing_images", "testing_labels"),
    ],
)
def test_the_names_of_arrays(tmp_path: Path, names: tuple[str, ...], compressed: bool) -> None:
    arrays = dict(zip(names, (X, Y, TEST_X, TEST_Y), strict=True))
    data = own_data.read_own(saved(tmp_path, compressed, **arrays, note=np.array("text")))
    assert np.array_equal(data.train.images, X)
    assert np.array_equal(data.train.labels, Y)
    assert np.array_equal(data.test.images, TEST_X)
    assert np.array_equal(data.test.labels, TEST_Y)
    assert data.remarks == ("arrays not used: note",)


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("data", "target")]
)
def test_one_split(tmp_path: Path, images: str, labels: str) -> None:
    data = own_data.read_own(saved(tmp_path, **{images: X, labels: Y}))
    assert data.counts() == [("0", 8, 2), ("1", 8, 2), ("2", 8, 2)]


@pytest.mark.parametrize(("images", "labels"), [("k49-{}-imgs", "k49-{}-labels"), ("X_{}", "y_{}")])
def test_images_and_labels_in_separate_files(tmp_path: Path, images: str, labels: str) -> None:
    """As Kuzushiji-49 is published."""
    for split, x, y in (("train", X, Y), ("test", TEST_X, TEST_Y)):
        np.savez_compressed(tmp_path / images.format(split), x)
        np.savez_compressed(tmp_path / labels.format(split), y)
    data = own_data.read_own(tmp_path)
    assert np.array_equal(data.train.images, X)
    assert np.array_equal(data.test.labels, TEST_Y)
    rows = own_files.read_images(tmp_path / f"{images.format('test')}.npz")
    assert np.array_equal(rows.images, TEST_X)
    np.savez(tmp_path / images.format("train"), TEST_X)
    assert "12 images" in refusal(tmp_path)
    np.savez(tmp_path / images.format("train"), X, Y)
    assert "2 arrays" in refusal(tmp_path)
    (tmp_path / images.format("train")).with_suffix(".npz").write_bytes(b"PK\3\4 cut")
    assert images.format("train") in refusal(tmp_path)
    np.savez(tmp_path / "train-more-labels", Y)
    assert "several files of training images" in refusal(tmp_path)


def test_validation_images(tmp_path: Path) -> None:
    path = saved(
        tmp_path, train_images=X, train_labels=Y[:, None], val_images=TEST_X, val_labels=TEST_Y
    )
    data = own_data.read_own(path)
    assert data.val is not None
    assert np.array_equal(data.val.images, TEST_X)
    assert (len(data.train), len(data.test)) == (24, 6)


@pytest.mark.parametrize(
    "images",
    [
        X.reshape(30, 784),
        X[..., None],
        X[:, None],
        np.asfortranarray(X),
        X.astype(np.int64),
        X.astype(">i2"),
        X.astype(np.float32),
        X / 255,
        (X / 255).astype(np.float32),
        (X / 255).astype(np.float16),
        (X / 256).astype(np.float32),
    ],
    ids=lambda one: f"{one.dtype} {one.shape}",
)
def test_shapes_and_types_give_the_same_bytes(tmp_path: Path, images: Any) -> None:
    path = saved(tmp_path, x=images, y=np.eye(3, dtype=np.float32)[Y])
    (rows,) = own_npz.read(path).values()
    assert rows.images.tobytes() == X.tobytes()
    assert rows.labels is not None
    assert rows.labels.tolist() == Y.tolist()


def test_bool_and_other_sizes(tmp_path: Path) -> None:
    small = idx_arrays(size=(8, 8))[0] > 100
    (rows,) = own_npz.read(saved(tmp_path, x=small, y=Y)).values()
    assert set(np.unique(rows.images)) >= {0, 255}
    assert [remark[:20] for remark in rows.remarks] == [
        "its pixels are 0 and",
        "images are 8×8: the ",
    ]


def with_entry(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


BAD = {
    "a claim of 10^12": (
        npy_header("(1000000, 1000, 1000)"),
        "more than the 1,000,000 images|announces",
    ),
    "a claim": (npy_header("(1000, 28, 28)"), "announces 784,000 bytes"),
    "negative": (npy_header("(-5, 28, 28)"), "its shape is"),
    "no tuple": (npy_header("__import__('os')"), "is not a NumPy array"),
    "deep": (npy_header("(" * 3000 + ")" * 3000), "is not a NumPy array"),
    "unclosed": (npy_header("(" * 5000), "is not a NumPy array"),
    "long header": (
        b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 30) + b"(" * 1000,
        "is not a NumPy array",
    ),
    "version 9": (b"\x93NUMPY\x09\0" + bytes(100), "is not a NumPy array"),
    "cut off": (npy_header("(30, 28, 28)") + bytes(100), "announces 23,520 bytes"),
    "trailing": (npy_header("(30, 28, 28)") + bytes(23_521), "has more bytes"),
    "no array": (b"hello", "is not a NumPy array"),
    "empty": (b"", "is not a NumPy array"),
    "structured": (npy_header("(30,)", "[('a', '<i4')]"), "shape"),
    "colour": (npy_header("(30, 28, 28, 3)") + bytes(70_560), "grey images have"),
    "tiny": (npy_header("(30, 2, 2)") + bytes(120), "2×2 pixels"),
    "text": (npy_header("(30, 28, 28)", "'<U4'") + bytes(30 * 784 * 16), "holds <U4, not numbers"),
    "complex": (npy_header("(30, 28, 28)", "'<c8'") + bytes(30 * 784 * 8), "not numbers"),
    "nan": (npy_header("(1, 28, 28)", "'<f4'") + b"\xff" * 784 * 4, "image 0: a pixel is nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_array_of_images(tmp_path: Path, case: str) -> None:
    content, words = BAD[case]
    path = with_entry(saved(tmp_path, y=Y), "x.npy", content)
    with pytest.raises(DataError, match=words):
        own_npz.read(path)


def test_objects_are_refused_unexecuted(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    for name in ("x", "y"):
        arrays: dict[str, Any] = {"x": X, "y": Y, name: np.array([Proof(proof)] * 30, dtype=object)}
        arrays["x"] = (
            arrays["x"].reshape(30, 1, 1).repeat(28, 1).repeat(28, 2) if name == "x" else X
        )
        assert "Python objects, which can run code" in refusal(saved(tmp_path, **arrays))
    assert not proof.exists()


def test_what_does_not_match(tmp_path: Path) -> None:
    assert "data.npz, but 29 labels in y" in refusal(saved(tmp_path, x=X, y=Y[1:]))
    assert "no array of images by a known name: a, b" in refusal(saved(tmp_path, a=X, b=Y))
    assert "Name the arrays x_train" in refusal(saved(tmp_path, arr_0=X))
    assert "are both train images" in refusal(saved(tmp_path, x=X, images=X, y=Y))
    assert "has no labels" in refusal(saved(tmp_path, x=X))
    assert "labels have (images,)" in refusal(saved(tmp_path, x=X, y=np.zeros((30, 3))))
    assert "a label" in refusal(saved(tmp_path, x=X, y=Y + 0.5)).replace("the label", "a label")
    assert "'y'" not in refusal(saved(tmp_path, x=X, y=np.full(30, "a")))


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert "CRC" in refusal(path)


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "is encrypted" in refusal(path)


def test_a_long_directory_is_refused_before_it_is_listed(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", 1 << 30)
    path.write_bytes(data)
    assert "too many entries" in refusal(path)
    large = b"PK\6\6" + bytes(36) + struct.pack("<QQ", 1 << 40, 0) + b"PK\6\7" + bytes(16)
    path.write_bytes(data[:end] + large + data[end:])
    assert "too many entries" in refusal(path)
    path.write_bytes(data[:end] + b"PK\6\7" + bytes(16) + data[end:])
    assert "its end is damaged" in refusal(path)
    data[end + 12 : end + 16] = saved(tmp_path, x=X, y=Y).read_bytes()[end + 12 : end + 16]
    data[27] = 255  # a name of 65,000 bytes
    path.write_bytes(data)
    assert len(refusal(path)) < 500


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    buffer = io.BytesIO()
    np.save(buffer, X)
    with pytest.warns(UserWarning, match="Duplicate"):
        with_entry(path, "x.npy", buffer.getvalue())
    assert "two arrays with the same name" in refusal(path)


def test_images_to_classify(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=X, y_train=Y, x_test=TEST_X, y_test=TEST_Y)
    rows = own_files.read_images(path)
    assert np.array_equal(rows.images, TEST_X)
    assert rows.remarks[0] == "it has training and test images: the test images are used"
    assert np.array_equal(own_files.read_images(saved(tmp_path, images=X)).images, X)


def test_a_pickle_named_npz_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(pickle.dumps(Proof(tmp_path / "proof")))
    assert "is a pickle" in refusal(path)
    assert not (tmp_path / "proof").exists()
