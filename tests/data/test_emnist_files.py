"""EMNIST's own files, whose images lie on their side, are recognised and turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_files import idx_folder

from mnist_cli.data import own_data
from mnist_cli.data.idx import load as load_idx
from mnist_cli.data.own_csv import read as read_csv

TURNED = "EMNIST's own files store images column by column: they are transposed"


def tall(count: int = 40) -> np.ndarray:
    """Strokes taller than they are wide, as letters and digits are."""
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    for number, image in enumerate(images):
        image[3:25, 9 : 18 + number % 3] = 200
        image[4, 9:12] = 90
    return images


def labels(count: int = 40) -> np.ndarray:
    return (1 + np.arange(count) % 4).astype(np.uint8)


def folder(root: Path, prefix: str, images: np.ndarray) -> Path:
    names = {
        f"{prefix}train-images-idx3-ubyte": images,
        f"{prefix}train-labels-idx1-ubyte": labels(),
    }
    return idx_folder(root, names)


@pytest.mark.parametrize(
    ("prefix", "sideways", "remark"),
    [
        ("emnist-letters-", True, TURNED),
        ("emnist-balanced-", False, "named like EMNIST's own files, but its images are upright"),
        ("", False, ""),
        ("", True, ""),
    ],
)
def test_by_name_and_by_content(tmp_path: Path, prefix: str, sideways: bool, remark: str) -> None:
    upright = tall()
    stored = np.ascontiguousarray(upright.transpose(0, 2, 1)) if sideways else upright
    data = own_data.read_own(folder(tmp_path, prefix, stored))
    found = np.concatenate([data.train.images, data.test.images])
    expected = stored if not prefix else upright
    assert {one.tobytes() for one in found} == {one.tobytes() for one in expected}
    assert any(remark and one.startswith(remark) for one in data.remarks) is bool(remark)


def test_the_csv_files_made_of_them(tmp_path: Path) -> None:
    stored = tall().transpose(0, 2, 1).reshape(40, 784)
    table = np.insert(stored.astype(int), 0, labels(), axis=1)
    path = tmp_path / "emnist-letters-train.csv"
    np.savetxt(path, table, fmt="%d", delimiter=",")
    assert not np.array_equal(read_csv(path).images, tall())
    data = own_data.read_own(path)
    assert data.train.images.shape[0] == 32
    assert {one.tobytes() for one in data.train.images} <= {one.tobytes() for one in tall()}
    assert TURNED in data.remarks


@pytest.mark.mnist
def test_the_ink_of_real_digits_is_clearly_taller_than_wide(
    mnist_dir: Path, tmp_path: Path
) -> None:
    """So a file of real digits that were turned already is left as it is."""
    images = load_idx(mnist_dir / "t10k-images-idx3-ubyte.gz").array[:40]
    folder(tmp_path, "emnist-digits-", images)
    assert any("are upright" in one for one in own_data.read_own(tmp_path).remarks)
