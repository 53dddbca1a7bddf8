"""CSV files as Kaggle, pandas and spreadsheets write them, and what is not a table of images."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from own_files import both_splits, idx_arrays, picture_folder, refusal
from systems import needs_posix

from mnist_cli.data import own_csv, own_data, own_files

IMAGES, LABELS = idx_arrays(size=(28, 28))
PIXELS = [f"pixel{number}" for number in range(784)]


def text(
    table: npt.NDArray[Any], names: Sequence[str] = (), form: str = "%d", between: str = ","
) -> str:
    lines = [between.join(names)] if names else []
    lines += [between.join(form % value for value in row) for row in table]
    return "\n".join(lines) + "\n"


def flat(images: npt.NDArray[Any] = IMAGES) -> npt.NDArray[Any]:
    return images.reshape(len(images), -1)


def labelled(place: int = 0, images: npt.NDArray[Any] = IMAGES) -> npt.NDArray[Any]:
    return np.insert(flat(images).astype(float), place, LABELS, axis=1)


KAGGLE = text(labelled(), ["label", *PIXELS])
ONE_TO_28 = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]

FORMS = {
    "Kaggle's": KAGGLE,
    "MNIST in CSV": text(labelled(), ["label", *ONE_TO_28]),
    "label last": text(labelled(784), [*PIXELS, "class"]),
    "no header": text(labelled()),
    "no header, label last": text(labelled(784)),
    "pandas's names by number": text(labelled(), ["label", *map(str, range(784))]),
    "pandas's names for a row of 0, no header": text(
        labelled(), ["0", *(f"0.{number}" for number in range(1, 785))]
    ),
    "pandas's index": text(np.insert(labelled(), 0, np.arange(30), axis=1), ["", "label", *PIXELS]),
    "semicolons": text(labelled(), ["label", *PIXELS], between=";"),
    "tabs": text(labelled(), ["label", *PIXELS], between="\t"),
    "spaces, no header": text(labelled(), form="%.18e", between=" "),
    "columns aligned by spaces, no header": text(labelled(), form="%4d", between=" "),
    "a comma after each number": KAGGLE.replace("\n", ",\n"),
    "a tab after each number, no header": text(labelled(), form="%d\t", between=""),
    "savetxt's header": "# " + KAGGLE,
    "Windows": KAGGLE.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + KAGGLE,
    "no last newline": KAGGLE.rstrip("\n"),
    "empty lines at the end": KAGGLE + "\n\n",
    "quoted": text(labelled(), [f'"{name}"' for name in ("Label", *PIXELS)], form='"%d"'),
    "written as floats": text(labelled(), ["label", *PIXELS], form="%.1f"),
    "fractions": text(labelled(0, IMAGES / 255), ["label", *PIXELS], form="%.6f"),
    "fractions of 256": text(labelled(0, IMAGES / 256), ["label", *PIXELS], form="%.8g"),
}


def written(folder: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_form_gives_the_same_bytes(tmp_path: Path, form: str, packed: bool) -> None:
    content = FORMS[form].encode()
    rows = own_csv.read(written(tmp_path, gzip.compress(content) if packed else content, "x"))
    assert rows.images.tobytes() == IMAGES.tobytes()
    assert rows.labels is not None
    assert rows.labels.tolist() == LABELS.tolist()
    guessed = [one for one in rows.remarks if "no column is named label" in one]
    assert bool(guessed) is ("no header" in form)


@pytest.mark.parametrize("place", [0, 784])
def test_a_corner_of_few_grey_levels_is_no_label(tmp_path: Path, place: int) -> None:
    images = IMAGES.copy()
    images[:, 0, 0] = images[:, -1, -1] = 16 * (np.arange(len(images)) % 2)
    rows = own_csv.read(written(tmp_path, text(labelled(place, images))))
    assert rows.labels is not None
    assert rows.labels.tolist() == LABELS.tolist()
    assert len(set(LABELS.tolist())) > 2


@pytest.mark.parametrize("names", [PIXELS, [], ["ImageId", *PIXELS]])
def test_rows_without_labels(tmp_path: Path, names: list[str]) -> None:
    table = flat() if len(names) < 785 else np.insert(flat(), 0, np.arange(30), axis=1)
    path = written(tmp_path, text(table, names))
    rows = own_csv.read(path)
    assert rows.labels is None
    assert rows.images.tobytes() == IMAGES.tobytes()
    assert "has no labels\nRows need a label, in a column" in refusal(path)


def test_images_of_0_and_1_become_black_and_white(tmp_path: Path) -> None:
    path = written(tmp_path, text(labelled(0, IMAGES > 100), ["label", *PIXELS]))
    rows = own_csv.read(path)
    assert np.array_equal(rows.images, 255 * (IMAGES > 100))
    assert rows.remarks == ("its pixels are 0 and 1: they become 0 and 255",)


def test_dark_images_are_said_to_be_dark(tmp_path: Path) -> None:
    rows = own_csv.read(written(tmp_path, text(labelled(0, IMAGES // 16))))
    assert "its brightest pixel is 14 of 255: pictures must have the same range" in rows.remarks
    assert np.array_equal(rows.images, IMAGES // 16)


def test_blank_rows_before_fractions_are_scaled_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first blocks of lines hold only 0 and 1, so they do not tell the scale."""
    monkeypatch.setattr(own_csv, "BLOCK", 2000)
    fractions = IMAGES / 255
    fractions[:5] = fractions[:5] > 0.5
    rows = own_csv.read(written(tmp_path, text(labelled(0, fractions), form="%.9g")))
    assert np.array_equal(rows.images[:5], 255 * (IMAGES[:5] / 255 > 0.5))
    assert np.array_equal(rows.images[5:], IMAGES[5:])


def test_the_whole_set(tmp_path: Path) -> None:
    small, labels = idx_arrays(size=(8, 8))
    table = np.insert(flat(small).astype(int), 0, labels + 3, axis=1)
    data = own_data.read_own(written(tmp_path, text(table)))
    assert data.spec.classes == ("3", "4", "5")
    assert data.spec.title == "train.csv"
    assert len(data.train) + len(data.test) == 30
    assert any(remark.startswith("images are 8×8: the longer side") for remark in data.remarks)
    assert any("no test set found" in remark for remark in data.remarks)
    assert data.in_words().startswith("3 classes, training + test images: 3 8 + 2, ")


NAMES = np.array(["two", "one", "zero"])


@pytest.mark.parametrize(
    ("names", "at", "between"),
    [
        (["label", *PIXELS], 0, ","),
        ([*PIXELS, "character"], 784, ";"),
        ([], 784, ","),
        ([], 0, " "),
    ],
)
def test_labels_may_be_words(
    tmp_path: Path, names: list[str], at: int, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_csv, "BLOCK", 20_000)
    table = np.insert(flat().astype(object), at, NAMES[LABELS], axis=1)
    root = folder(tmp_path, train__csv=text(table, names, "%s", between), test__csv="")
    folder(root, test__csv=text(table[LABELS > 0], names, "%s", between))
    data = own_data.read_own(root)
    assert data.spec.classes == ("one", "two", "zero")
    assert np.array_equal(np.array(data.spec.classes)[data.train.labels], NAMES[LABELS])
    assert np.array_equal(data.train.images, IMAGES)
    assert np.array_equal(data.test.labels, data.train.labels[LABELS > 0])
    for wrong, words in (("", "line"), ("nan", "'nan' is not a label")):
        table[7, at] = wrong
        folder(root, test__csv=text(table, names, "%s", between))
        assert words in refusal(root)
    folder(root, test__csv=KAGGLE)
    assert "words in one split and numbers in another" in refusal(root)


FIRST, REST = KAGGLE.split("\n", 1)
LINE = REST.split("\n", 1)[0]


def changed(line: int, old: str, new: str) -> str:
    lines = KAGGLE.split("\n")
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(3, ",", ",300,"), "line 3 has 786 columns, not 785"),
        (changed(7, LINE[:3], "x,"), "line 7"),
        (changed(4, ",", ",,"), "line 4 has 786 columns"),
        (KAGGLE.replace("\n", "\n\n", 3), "line 2 has 0 columns"),
        (KAGGLE + "0," * 783 + "300,0\n", "line 32: a pixel is 300, not 0 to 255"),
        (KAGGLE + "0," * 784 + "-1\n", "line 32: a pixel is -1"),
        (KAGGLE + "0," * 784 + "0.5\n", "line 32: a pixel is 0.5, not a whole number"),
        (KAGGLE + "0," * 784 + "nan\n", "line 32: a pixel is nan, not 0 to 255"),
        (KAGGLE + "0," * 784 + "1e999\n", "line 32: a pixel is inf, not 0 to 255"),
        (KAGGLE + "0.5," + "0," * 783 + "0\n", "line 32: the label 0.5 is not a whole number"),
        (KAGGLE + "9" * 30 + ",0" * 784 + "\n", "line 32: the label 1e\\+30"),
        (KAGGLE + "9" * 400 + ",0" * 784 + "\n", "line 32: the label inf"),
        (KAGGLE + "A" + ",0" * 784 + "\n", "line 32: 'A' is not a number"),
        (FIRST + "\n", "has no rows"),
        ("a,b\n1,2\n", "is not a table of images: 2 columns"),
        ("id,label\n1,2\n", "is not a table of images: 2 columns"),
        (text(labelled(), ["label", "digit", *PIXELS[1:]]), "two columns of labels: label and"),
        (text(labelled(), ["label", *sorted(PIXELS)]), "not in order: pixel 11 follows pixel 109"),
        (text(flat(), PIXELS[::-1]), "not in order: pixel 782 follows pixel 783"),
        (KAGGLE.replace("\n", "\r"), "line 1 has carriage returns without line feeds"),
        (KAGGLE.encode("utf-16-le")[2:], "NUL bytes"),
        ("étiquette".encode("latin-1") + KAGGLE.encode(), "line 1 is not text in UTF-8"),
        (text(flat() / 100, PIXELS, form="%.2f"), "is 0.\\d+, not|, not a whole number"),
        (KAGGLE + '"', "line 32"),
        (FIRST + "\n" + LINE + '\n"' + REST, "line 3"),
        (KAGGLE + '0,"' + "0," * 783 + "0\n", "line 32"),
        (KAGGLE.encode() + b"\xff\xfe,1\n", "line 32 is not text in UTF-8"),
        (KAGGLE.encode()[:9000] + b"\0" + KAGGLE.encode()[9000:], "line \\d+ has NUL bytes"),
        (gzip.compress(KAGGLE.encode())[:-20], "the gzip stream is damaged or cut off"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(own_csv.DataError, match=words) as caught:
        own_csv.read(written(tmp_path, content))
    assert "Traceback" not in str(caught.value)
    assert caught.value.hint


def test_a_line_without_end_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_csv, "LONGEST", 20_000)
    path = written(tmp_path, gzip.compress(b"1," * 1_000_000))
    with pytest.raises(own_csv.DataError, match="line 1 has more than 20,000 bytes"):
        own_csv.read(path)


@pytest.mark.parametrize("between", [b",", b" "])
def test_too_many_columns_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bytes
) -> None:
    monkeypatch.setattr(own_csv, "_fields", pytest.fail)
    path = written(tmp_path, gzip.compress(b"1" + (between + b"1") * own_csv.MOST_COLUMNS))
    with pytest.raises(own_csv.DataError, match="not a table of images: 1,048,580 columns"):
        own_csv.read(path)


def test_a_million_rows_are_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_cli.data.records.MAX_IMAGES", 29)
    assert "more than the 29 images" in refusal(written(tmp_path, KAGGLE))


# --- folders


def folder(root: Path, **files: str | bytes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        written(root, content, name.replace("__", "."))
    return root


def test_train_and_test_in_a_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", mnist_train__csv=KAGGLE, mnist_test__csv=KAGGLE)
    data = own_data.read_own(root)
    assert (len(data.train), len(data.test), data.val) == (30, 30, None)
    assert [path.name for path in own_data.locate(root)] == ["mnist_train.csv", "mnist_test.csv"]
    folder(root, mnist_val__csv=KAGGLE, california_housing_train__csv="a,b\n1,2\n")
    picture_folder(root / "pictures" / "more", 1)
    validated = own_data.read_own(root)
    assert validated.remarks[-1] == "not used: california_housing_train.csv, pictures/"
    assert validated.val is not None
    assert len(validated.val) == 30


def test_kaggles_folder_has_a_test_file_without_labels(tmp_path: Path) -> None:
    submission = "ImageId,Label\n1,0\n"
    root = folder(
        tmp_path / "a",
        train__csv=KAGGLE,
        test__csv=text(flat(), PIXELS),
        sample_submission__csv=submission,
    )
    data = own_data.read_own(root)
    assert (len(data.train), len(data.test)) == (24, 6)
    assert "test.csv has no labels, so it is not used as a test set" in data.remarks


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    two = folder(tmp_path / "a", train_a__csv=KAGGLE, train_b__csv=KAGGLE)
    assert "several files of training images" in refusal(two)
    without = folder(tmp_path / "b", x__csv=KAGGLE, y__csv=KAGGLE)
    assert "several files of images, none named as a training set: x.csv, y.csv" in refusal(without)
    others = {"notes__csv": "name,age\nAda,36\n", "empty__csv": "", "log__csv": b"a\0b"}
    alone = folder(tmp_path / "damaged", x__csv=KAGGLE, **others)
    assert len(own_data.read_own(alone).train) == 24
    inner = folder(tmp_path / "d" / "mnist", train__csv=KAGGLE).parent
    assert len(own_data.read_own(inner).train) == 24
    splits = folder(tmp_path / "f" / "mnist" / "train", a__csv=KAGGLE).parent
    folder(splits / "test", b__csv=KAGGLE)
    for root in (splits, splits.parent):
        assert [part.name for part in own_data.locate(root)] == ["a.csv", "b.csv"]
        assert len(own_data.read_own(root).test) == 30
    for number in range(2):
        folder(splits / "train", **{f"000{number}__csv": KAGGLE})
    assert "several files of training images" in refusal(splits)
    (splits / "train" / "a.csv").unlink()
    assert len(own_data.read_own(splits).train) == 60
    folder(tmp_path / "d" / "other", train__csv=KAGGLE)
    assert "several data sets, in mnist/, other/" in refusal(inner)
    other = KAGGLE.replace("\n2,", "\n9,")
    assert "label 9" in refusal(folder(tmp_path / "e", train__csv=KAGGLE, test__csv=other))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_that_cannot_be_read_is_not_passed_over(tmp_path: Path, split: str) -> None:
    other = {"train": "test", "test": "train"}[split]
    root = folder(tmp_path, **{f"{other}__csv": KAGGLE, f"{split}__csv": "a,b\n1,2\n"})
    if split == "train":
        refused = refusal(root)
        assert "train.csv is not a table of images: 2 columns" in refused
        assert refused.endswith(f"name the file of images: {root / 'test.csv'}.")
    else:
        assert "not used: test.csv" in own_data.read_own(root).remarks
    folder(root, **{f"{split}__csv": b"version https://git-lfs.github.com/spec/v1\n"})
    assert f"{split}.csv is a Git LFS pointer" in refusal(root)


@needs_posix
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_broken_link_is_refused_not_ignored(tmp_path: Path, split: str) -> None:
    for one in ("train", "test"):
        picture_folder(tmp_path / "pictures" / one, 2)
    for root, name in (
        (folder(tmp_path / "csv", train__csv=KAGGLE, test__csv=KAGGLE), f"{split}.csv"),
        (
            both_splits(tmp_path / "idx"),
            {"train": "train-labels-idx1-ubyte"}.get(split, "t10k-labels-idx1-ubyte.gz"),
        ),
        (tmp_path / "pictures", split),
    ):
        (root / name).rename(root / ".moved")
        (root / name).symlink_to(".git/annex/objects/x")
        shown = f"{root / name} is a link to '.git/annex/objects/x', which does not exist"
        assert shown in refusal(root)
        assert f"{shown}: run git annex get" in refusal(root / name)


@needs_posix
@pytest.mark.parametrize(
    ("link", "refused"),
    [("notes", False), ("0", True), ("split/latest", False), ("split/train/0", True)],
)
def test_of_links_that_lead_nowhere_only_possible_classes_are_refused(
    tmp_path: Path, link: str, refused: bool
) -> None:
    for one in ("", "split/train", "split/test"):
        picture_folder(tmp_path / "pictures" / one, 2, classes="012")
    root = tmp_path / "pictures"
    if link.startswith("split/"):
        root = root / "split"
    else:
        shutil.rmtree(root / "split")
    path = tmp_path / "pictures" / link
    if refused:
        path.rename(path.with_name(".moved"))
    path.symlink_to("nowhere")
    if refused:
        assert f"{path} is a link to 'nowhere'" in refusal(root)
    else:
        own_data.read_own(root)


def test_images_to_classify(tmp_path: Path) -> None:
    assert len(own_files.read_images(written(tmp_path, text(flat(), PIXELS)))) == 30
    assert own_files.read_images(written(tmp_path, KAGGLE)).labels is not None
