"""Files that people bring, from training to the file that Kaggle takes; and data sets converted."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bits import rows
from own_files import both_splits, idx_arrays, in_mnist_form, picture_folder
from PIL import Image
from program import Outcome, Run

from mnist_cli import cli
from mnist_cli.data import own_data
from mnist_cli.data.converting import convert, source
from mnist_cli.data.load import load
from mnist_cli.errors import OutputError
from mnist_cli.report.row_answers import MOST_LISTED

SMALL = (
    *("train", "--config", "smoke", "--epochs", 4, "--batch-size", 8, "--quiet"),
    *("--set", "threads=1", "--set", "precision=fp32"),
)
X, Y = idx_arrays(90, (28, 28))
TEST_X, TEST_Y = idx_arrays(40, (28, 28), seed=700)
NAMES = [f"pixel{number}" for number in range(784)]


def write_csv(path: Path, images: Any, labels: Any = None) -> Path:
    table = images.reshape(len(images), 784).astype(int)
    names = NAMES
    if labels is not None:
        table, names = np.insert(table, 0, labels, axis=1), ["label", *NAMES]
    np.savetxt(path, table, fmt="%d", delimiter=",", header=",".join(names), comments="")
    return path


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's two files and a run on the first: only read."""
    folder = tmp_path_factory.mktemp("kaggle")
    write_csv(folder / "train.csv", X, Y)
    write_csv(folder / "test.csv", TEST_X)
    words = [*SMALL, "--dataset", folder / "train.csv", "--runs", folder / "runs"]
    assert cli.run([str(word) for word in words]) == 0
    return folder


def predict(run: Run, kaggle: Path, *words: object) -> Outcome:
    return run("predict", *words, "--runs", kaggle / "runs")


def test_the_file_that_kaggle_takes(run: Run, kaggle: Path) -> None:
    outcome = predict(run, kaggle, kaggle / "test.csv", "--csv")
    assert outcome.code == 0
    rows = list(csv.reader(outcome.out.splitlines()))
    assert rows[0] == ["ImageId", "Label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 41)]
    assert np.mean([int(row[1]) for row in rows[1:]] == TEST_Y) > 0.9


def test_pictures_come_to_mnists_form_if_the_training_images_have_it(run: Run) -> None:
    images = in_mnist_form(40)
    images[::2] = images[::2].transpose(0, 2, 1)
    write_csv(Path("train.csv"), images, np.arange(40) % 2)
    outcome = run(*(one for one in SMALL if one != "--quiet"), "--dataset", "train.csv")
    assert "its images have MNIST's form" in outcome.err
    page = np.full((200, 300), 230, dtype=np.uint8)
    page[40:100, 200:212] = 30
    Image.fromarray(page).save("page.png")
    document = run("predict", "page.png", "--segment", "--json").document
    assert document[0]["box"] == {"top": 40, "left": 200, "bottom": 100, "right": 212}
    assert "whole" not in run("predict", "page.png").err
    assert run("export", "--out", "x.safetensors").code == 0
    assert b"whole" not in Path("x.safetensors").read_bytes()


def test_each_kind_of_file_gives_the_same_answers(run: Run, kaggle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=X, y_train=Y, x_test=TEST_X, y_test=TEST_Y)
    both_splits(tmp_path / "idx", size=(28, 28))
    document = predict(run, kaggle, kaggle / "test.csv", "--json").document
    assert predict(run, kaggle, tmp_path / "x.npz", "--json").document == [
        one | {"path": str(tmp_path / "x.npz")} for one in document
    ]
    assert [one["row"] for one in document] == list(range(1, 41))
    assert set(document[0]) == {"path", "row", "digit", "class", "probabilities"}
    assert sum(document[0]["probabilities"]) == pytest.approx(1)
    outcome = predict(run, kaggle, tmp_path / "idx" / "t10k-images.idx3-ubyte", "--csv")
    assert len(outcome.out.splitlines()) == 13


def test_rows_in_words(run: Run, kaggle: Path, tmp_path: Path) -> None:
    many = predict(run, kaggle, kaggle / "test.csv")
    counts = [line.split()[:2] for line in many.out.splitlines()[1:]]
    assert [name for name, _ in counts] == ["0", "1", "2"]
    assert sum(int(count) for _, count in counts) == 40
    assert "rows are used unchanged" in many.err
    few = predict(run, kaggle, write_csv(tmp_path / "few.csv", TEST_X[:MOST_LISTED], Y[:20]))
    assert len(few.out.splitlines()) == 1 + MOST_LISTED
    assert "labels in" in few.err
    assert "are not used" in few.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["test.csv", "test.csv"], 2, "Name it alone"),
        (["test.csv", "--segment"], 2, "--segment finds digits"),
        (["broken.csv"], 3, "line 2 has 2 columns, not 784"),
        (["mnist.pkl.gz"], 3, "is a pickle"),
        (["x.mat"], 3, "is not a CSV of pixels"),
        (["none.csv"], 3, "does not exist"),
    ],
)
def test_rows_that_cannot_be_used(
    run: Run, kaggle: Path, words: list[str], code: int, message: str
) -> None:
    write_csv(Path("test.csv"), TEST_X)
    Path("broken.csv").write_text(",".join(NAMES) + "\n1,2\n")
    Path("mnist.pkl.gz").write_bytes(b"\x80\x04N.")
    Path("x.mat").write_bytes(bytes(range(100)))
    outcome = predict(run, kaggle, *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in " ".join(outcome.err.split())


def test_the_classes_are_said_before_training(run: Run, kaggle: Path) -> None:
    outcome = run(*SMALL[:-5], *SMALL[-4:], "--dataset", kaggle / "train.csv", "--dry-run")
    assert "3 classes, training + test images: 0 24 + 6, 1 24 + 6, 2 24 + 6" in " ".join(
        outcome.err.split()
    )


def test_a_file_in_the_working_folder_needs_no_separator(run: Run) -> None:
    write_csv(Path("train.csv"), X, Y)
    assert run("data", "verify", "train.csv").code == 0
    paths = run("data", "path", "train.csv").out.split()
    assert [Path(one).name for one in paths] == ["train.csv"]
    samples = run("data", "show", "train.csv", "--count", 3, "--json").document["samples"]
    assert len(samples) == 3
    assert "does not exist" in run("data", "verify", "other.csv").err


def test_val_beside_train_is_the_validation_set(run: Run) -> None:
    picture_folder(Path("pics/train"), 10)
    picture_folder(Path("pics/val"), 2)
    assert run(*SMALL, "--dataset", "pics").code == 0
    assert rows(Path("runs/0001-pics-conv2"))[0]["val_count"] == 6
    found = run("eval", "--split", "val", "--json").document
    assert found["count"] == 6
    assert run(*SMALL, "--dataset", "pics", "--set", "val_size=0").code == 0
    assert rows(Path("runs/0002-pics-conv2"))[0]["val_count"] is None


# --- mnist data convert


@pytest.mark.parametrize("kind", ["idx", "png"])
def test_what_is_written_reads_back_to_the_same_bytes(run: Run, tmp_path: Path, kind: str) -> None:
    np.savez(
        tmp_path / "x.npz",
        x_train=X,
        y_train=3 * Y,
        x_test=TEST_X,
        y_test=3 * TEST_Y,
        x_val=TEST_X[:9],
        y_val=3 * TEST_Y[:9],
    )
    outcome = run(
        "data", "convert", tmp_path / "x.npz", "--out", "made", "--format", kind, "--json"
    )
    assert outcome.document["images"] == {"train": 90, "val": 9, "test": 40}
    assert outcome.document["classes"] == ["0", "3", "6"]
    first, second = (
        own_data.read_own(path) for path in (tmp_path / "x.npz", Path("made").absolute())
    )
    assert second.spec.classes == first.spec.classes
    for one, other in (
        (first.train, second.train),
        (first.test, second.test),
        (first.val, second.val),
    ):
        assert one is not None
        assert other is not None
        # Pictures lie by class, in their order.
        order = np.argsort(one.labels, kind="stable") if kind == "png" else slice(None)
        assert np.array_equal(one.images[order], other.images)
        assert np.array_equal(one.labels[order], other.labels)


def test_a_known_data_set_and_one_without_a_test_set(run: Run, tmp_path: Path) -> None:
    assert run("data", "convert", "digits", "--out", "made", "-q").code == 0
    known = load("digits", tmp_path)
    back = own_data.read_own(Path("made").absolute())
    assert np.array_equal(back.train.images, known.train.images.squeeze(1).numpy())
    assert np.array_equal(back.test.labels, known.test.labels.numpy())
    write_csv(Path("train.csv"), X, Y)
    assert run("data", "convert", "train.csv", "--out", "idx").code == 0
    assert sorted(path.name for path in Path("idx").iterdir()) == [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]


def test_names_of_classes_that_the_target_cannot_hold(run: Run) -> None:
    picture_folder(Path("pics"), 2)
    outcome = run("data", "convert", "pics", "--out", "idx")
    assert "IDX files have no class names, only numbers: 0 bar, 1 disc, 2 frame" in outcome.err
    raw = source("digits", Path())
    renamed = type(raw)(("T-shirt/top", "..", "__x", *"Aabcdef"), raw.train, raw.test, ())
    done = convert(renamed, Path("png"), "png", None)
    assert done.classes[0] == "000 T-shirt-top"
    assert "T-shirt/top as 000 T-shirt-top" in done.remarks[0]
    assert len(own_data.read_own(Path("png").absolute()).spec.classes) == 10


def test_nothing_is_replaced_and_nothing_half_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("made").mkdir()
    assert run("data", "convert", "digits", "--out", "made", "-q").code == 0
    again = run("data", "convert", "digits", "--out", "made")
    assert again.code == 5
    assert "made already exists" in again.err

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    stale = Path(f".other.{own_files_host()}.999999999.tmp")
    stale.mkdir()
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        convert(source("digits", Path()), Path("other"), "idx", None)
    assert sorted(path.name for path in Path().iterdir()) == ["made"]


def own_files_host() -> str:
    from mnist_cli.base.files import host_name

    return host_name()


def test_progress_ends_at_all_images(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    convert(source("digits", Path()), tmp_path / "x", "png", lambda *step: told.append(step))
    assert told[-1] == (1797, 1797)
    assert len(told) == 4
