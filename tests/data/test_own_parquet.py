"""Parquet as Hugging Face and pandas write it; damage, bombs, and the package that reads it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import idx_arrays, png_bomb, refusal
from PIL import Image

from mnist_cli.data import own_data, own_files, own_parquet
from mnist_cli.errors import DataError, DependencyError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

X, Y = idx_arrays(size=(28, 28))


def png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def structs(values: list[bytes | None]) -> Any:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": value, "path": "0.png"} for value in values], kind)


def hugging_face(
    path: Path, images: Any = X, labels: Any = Y, names: Any = None, **options: Any
) -> Path:
    """A file as the library datasets writes it: a struct of bytes and path, and the features."""
    columns = {"image": structs([png(image) for image in images])}
    if labels is not None:
        columns["label"] = pa.array(labels.astype(np.int64))
    label = {"names": names, "_type": "ClassLabel"}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"use_dictionary": False}])
def test_hugging_faces_files(tmp_path: Path, options: Any) -> None:
    rows = own_parquet.read(hugging_face(tmp_path / "x", names=["zero", "one", "two"], **options))
    assert np.array_equal(rows.images, X)
    assert rows.labels is not None
    assert np.array_equal(rows.labels, Y)
    assert (rows.names, rows.remarks) == (("zero", "one", "two"), ())


def test_shards_in_the_repositorys_folder(tmp_path: Path) -> None:
    names = ["zero", "one", "two"]
    for part, rows in enumerate((slice(0, 12), slice(12, 30))):
        path = tmp_path / "mnist" / f"train-0000{part}-of-00002.parquet"
        hugging_face(path, X[rows], Y[rows], names)
    hugging_face(tmp_path / "mnist" / "test-00000-of-00001.parquet", X[:9], Y[:9], names)
    (tmp_path / "README.md").write_text("MNIST")
    data = own_data.read_own(tmp_path)
    assert np.array_equal(data.train.images, X)
    assert (len(data.test), data.spec.classes) == (9, tuple(names))
    # The test set counts its classes from the other end: their names decide.
    hugging_face(tmp_path / "mnist/test-00000-of-00001.parquet", X, 2 - Y, names[::-1])
    assert np.array_equal(own_data.read_own(tmp_path).test.labels, Y)
    hugging_face(tmp_path / "mnist/test-00000-of-00001.parquet", X, Y, ["zero", "ten", "two"])
    assert "test: the class 'ten' has no training images" in refusal(tmp_path)
    (tmp_path / "mnist" / "train-00001-of-00002.parquet").unlink()
    assert "parts are missing" in refusal(tmp_path)


def test_one_file_and_other_columns(tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray(X[0].astype(np.uint16)).save(deep, "PNG")
    pictures = [deep.getvalue(), *map(png, X[1:])]
    table = pa.table({"img": pictures, "target": Y, "split": ["a"] * 30})
    pq.write_table(table, tmp_path / "x.parquet")
    data = own_data.read_own(tmp_path / "x.parquet")
    assert data.counts() == [("0", 8, 2), ("1", 8, 2), ("2", 8, 2)]
    assert "columns not used: split" in data.remarks
    assert "1 of 30 images: 16-bit values are read as 8-bit" in data.remarks


def test_columns_of_pixels(tmp_path: Path) -> None:
    columns = {"label": Y} | {f"pixel{n}": X.reshape(30, 784)[:, n] for n in range(784)}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    rows = own_parquet.read(tmp_path / "x.parquet")
    assert np.array_equal(rows.images, X)
    assert rows.labels is not None
    assert np.array_equal(rows.labels, Y)


@pytest.mark.parametrize("pixels", [False, True])
def test_labels_may_be_words(tmp_path: Path, pixels: bool) -> None:
    """OpenML's MNIST has the digits as a dictionary of strings; shards may lack a class."""
    columns = {f"pixel{n}": X.reshape(30, 784)[:, n] for n in range(784)}
    table = pa.table(columns if pixels else {"image": structs(list(map(png, X)))})

    def labelled(names: list[str]) -> pa.Table:
        return table.append_column("class", pa.array(np.array(names)[Y]).dictionary_encode())

    pq.write_table(labelled(["0", "10", "9"]), tmp_path / "x.parquet")
    data = own_data.read_own(tmp_path / "x.parquet")
    assert data.counts() == [("0", 8, 2), ("9", 8, 2), ("10", 8, 2)]
    ordered = labelled(["two", "one", "zero"]).take(np.argsort(Y, kind="stable"))
    for part in range(2):
        path = tmp_path / f"train-0000{part}-of-00002.parquet"
        pq.write_table(ordered.slice(12 * part, 12 + 6 * part), path)
    data = own_data.read_own(tmp_path)
    assert data.spec.classes == ("one", "two", "zero")
    assert np.bincount(data.train.labels).tolist() == [8, 8, 8]


def test_rows_without_labels(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "test.parquet", labels=None)
    assert np.array_equal(own_files.read_images(path).images, X)
    assert "has no labels" in refusal(path)


FIVE = list(range(5))
BAD = {
    "no picture": (
        {"image": structs([b"text"] * 5), "label": FIVE},
        "row 0 is a text file, and not a picture",
    ),
    "a PNG bomb": ({"image": structs([png_bomb()] * 5), "label": FIVE}, "row 0 would unpack"),
    "no bytes": ({"image": structs([None] * 5), "label": FIVE}, "row 0 has no picture"),
    "text": ({"image": ["a"] * 5, "label": FIVE}, "the column image holds string, not pictures"),
    "bytes": ({"image": structs([png(X[0])] * 5), "label": [b"a"] * 5}, "has binary where"),
    "no word": ({"image": structs([png(X[0])] * 5), "label": ["a"] * 4 + [" "]}, "an empty label"),
    "a gap": ({"image": structs([png(X[0])] * 5), "label": [1, None, 2, 3, 4]}, "an empty value"),
    "two labels": (
        {"image": structs([png(X[0])] * 5), "label": FIVE, "digit": FIVE},
        "2 columns of labels",
    ),
    "no images": ({"a": FIVE, "b": FIVE}, "is not a table of images: 2 columns"),
    "no rows": ({"image": structs([]), "label": []}, "has 0 rows|where numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    columns, words = BAD[case]
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=words):
        own_parquet.read(tmp_path / "x.parquet")


def test_labels_beyond_the_names(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "x.parquet", names=["only", "two"])
    assert "label 2, but the file names 2 classes" in refusal(path)
    path = hugging_face(tmp_path / "y.parquet", names=["a\x1b[31m", "b", "c"])
    assert "control characters" in refusal(path)


def test_cut_or_changed_files_are_refused_or_read(tmp_path: Path) -> None:
    whole = hugging_face(tmp_path / "whole").read_bytes()
    path = tmp_path / "x.parquet"
    cuts = [whole[:length] for length in range(4, len(whole), len(whole) // 20)]
    rng = np.random.default_rng(0)
    for _ in range(40):
        changed = bytearray(whole)
        changed[rng.integers(4, len(whole))] ^= 1 << rng.integers(8)
        cuts.append(bytes(changed))
    refused = 0
    for content in cuts:
        path.write_bytes(content)
        try:
            own_parquet.read(path)
        except DataError:
            refused += 1
    assert refused > 20


def test_more_rows_than_are_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hugging_face(tmp_path / "x.parquet")
    monkeypatch.setattr("mnist_cli.data.records.MAX_IMAGES", 29)
    assert "more than the 29 images" in refusal(path)


def test_a_pyarrow_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hugging_face(tmp_path / "x.parquet")
    monkeypatch.setattr(pa, "__version__", "14.0.0")
    with pytest.raises(DependencyError, match=r"pyarrow 14\.0\.0 can run code"):
        own_data.read_own(path)
