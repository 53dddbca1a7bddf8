"""Which folders are classes: nested archives, splits by name, and what systems and programs add."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from own_files import SHAPES, picture_folder, refusal
from PIL import Image

from mnist_cli.data import own_data
from mnist_cli.data.load import load
from mnist_cli.data.split_names import split_of


def flat(folder: Path, count: int = 3) -> None:
    """Pictures without a class."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("L", (28, 28), number).save(folder / f"img_{number}.png")


def kaggle(root: Path) -> Path:
    """As "MNIST as .jpg" unpacks: each folder in one of its own name."""
    picture_folder(root / "trainingSet" / "trainingSet", 4)
    picture_folder(root / "trainingSample" / "trainingSample", 1)
    flat(root / "testSet" / "testSet")
    return root


def test_kaggles_folders(tmp_path: Path) -> None:
    data = own_data.read_own(kaggle(tmp_path))
    assert data.spec.classes == ("bar", "disc", "frame")
    assert len(data.train) + len(data.test) == 12
    assert "trainingSet/ holds the training images" in data.remarks
    assert "not used: testSet/, trainingSample/" in data.remarks
    for place in ("trainingSet", "trainingSet/trainingSet"):
        assert len(own_data.read_own(tmp_path / place).spec.classes) == 3


def test_a_folder_of_folders_of_classes_is_refused(tmp_path: Path) -> None:
    for name in ("first", "second"):
        picture_folder(tmp_path / name, 2)
    message = refusal(tmp_path)
    assert "its folders first/, second/ hold folders in turn" in message
    assert f"such as {tmp_path / 'first'}." in message
    assert "If first/ is a class, move its pictures out of the inner folders." in message
    for name in ("train_a", "train_b"):
        picture_folder(tmp_path / "x" / name, 2)
    assert "has train_a/ and train_b/: which one holds the data?" in refusal(tmp_path / "x")


def test_splits_without_a_folder_for_each_class_are_refused(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    flat(tmp_path / "test")
    (tmp_path / "train.csv").write_text("filename,label\n0.png,1\n")
    assert "in test/, train/ there is no folder for each class" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("training.pt", b"PK\3\4", "training.pt is a damaged zip"),
        ("train_images.npy", b"\x93NUMPY\1\0", "train_images.npy is a NumPy array"),
        ("train/data-00000-of-00001.arrow", b"\xff" * 4, "is an Arrow stream"),
        ("data/mnist.pkl", b"\x80\4", "mnist.pkl is a pickle"),
    ],
)
def test_data_of_another_kind_are_named(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).with_name("README").write_text("About these data.")
    assert words in refusal(tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("MNIST - JPG - training", "MNIST - JPG - testing"),
        ("mnist_train", "mnist_test"),
        ("trainingSet", "testSet"),
    ],
)
@pytest.mark.parametrize("around", ["", "archive", "archive/mnist_png"])
def test_names_of_the_splits(tmp_path: Path, train: str, test: str, around: str) -> None:
    picture_folder(tmp_path / around / train, 3)
    picture_folder(tmp_path / around / test, 2)
    data = own_data.read_own(tmp_path)
    assert (len(data.train), len(data.test)) == (9, 6)
    assert (f"the images are in {around}/" in data.remarks) is bool(around)


@pytest.mark.parametrize("loose", [["train"], ["test"], ["train", "test"]])
def test_a_picture_beside_the_classes_of_a_split(tmp_path: Path, loose: list[str]) -> None:
    for split in ("train", "test"):
        picture_folder(tmp_path / split, 3)
    for split in loose:
        shutil.copy(tmp_path / "train/bar/000.png", tmp_path / split / "preview.png")
    data = own_data.read_own(tmp_path)
    assert data.counts() == [(name, 3, 3) for name in SHAPES]
    for split in loose:
        assert f"not used: {split}/preview.png, outside the class folders" in data.remarks


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_beside_train(tmp_path: Path, name: str) -> None:
    picture_folder(tmp_path / "train", 5)
    picture_folder(tmp_path / name, 1, classes=("disc", "bar"))
    data = own_data.read_own(tmp_path)
    assert data.val is not None
    assert data.val.labels.tolist() == [0, 1]
    assert (len(data.train), len(data.test)) == (12, 3)
    assert f"{name}/ is the validation set" in data.remarks
    assert data.files()["val"] == (f"{name}/bar/000.png", f"{name}/disc/000.png")
    assert data.in_words().endswith("; 2 validation images")


def test_validation_images_count_for_the_fingerprint(tmp_path: Path) -> None:
    picture_folder(tmp_path / "train", 5)
    first = load(str(tmp_path), Path()).fingerprint
    picture_folder(tmp_path / "val", 1)
    assert load(str(tmp_path), Path()).fingerprint != first


def run(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("config.toml", "metrics.jsonl", "environment.json"):
        (folder / name).write_text("")
    Image.new("L", (40, 30)).save(folder / "curves.png")


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    picture_folder(tmp_path, 3)
    run(tmp_path / "runs" / "0001-digits-conv4")
    run(tmp_path / "my experiments" / "0002-digits-conv4")
    run(tmp_path / "0003-digits-conv4")
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    others = (".venv", ".git", "lost+found", "__MACOSX", "@eaDir", "#recycle", "node_modules")
    for name in (*others, "env/site"):
        flat(tmp_path / name, 1)
    data = own_data.read_own(tmp_path)
    assert data.spec.classes == tuple(sorted(SHAPES))
    assert len(data.train) + len(data.test) == 9
    assert "runs of this program, not images" in refusal(tmp_path / "runs")


def test_a_class_may_have_folders_of_its_own(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2, classes=("cat", "dog"))
    picture_folder(tmp_path / "cat", 2, classes=("indoors", "outdoors"))
    assert own_data.read_own(tmp_path).counts() == [("cat", 5, 1), ("dog", 1, 1)]


def test_a_class_that_is_named_like_a_split(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2, classes=("car", "train"))
    picture_folder(tmp_path, 2, classes=("test tubes", "freight train"))
    shutil.move(tmp_path / "test tubes", tmp_path / "tubes")
    picture_folder(tmp_path / "freight train", 1, classes=("a", "b"))
    assert len(own_data.read_own(tmp_path).spec.classes) == 4


@pytest.mark.parametrize(
    "name", ["a\x1b[31mb", "a\nb", "a\rb", "a\x07", "\u202egnp", "line\u2028end", "c1\x9b31m"]
)
def test_names_that_a_terminal_would_obey(tmp_path: Path, name: str) -> None:
    picture_folder(tmp_path, 2, classes=("plain", name))
    message = refusal(tmp_path)
    assert "control characters" in message
    assert name not in message


def test_names_of_every_script(tmp_path: Path) -> None:
    names = ("犬", "кот", "می\u200cخواهم", "naïve café", "👩\u200d🔬")
    picture_folder(tmp_path, 2, classes=names)
    assert set(own_data.read_own(tmp_path).spec.classes) == set(names)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("trainingSet", "train"),
        ("emnist-letters-test.csv", "test"),
        ("t10k-images", "test"),
        ("train-test", "test"),
        ("validation", "val"),
        ("restrained", None),
        ("contest", None),
        ("valley", None),
        ("latest", None),
        ("0", None),
    ],
)
def test_what_a_name_means(name: str, split: str | None) -> None:
    assert split_of(name) == split
