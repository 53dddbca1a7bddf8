"""Folders of images by class: layouts, the test set that is cut, broken and hostile pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from own_files import picture_folder, png_bomb, refusal
from PIL import Image
from systems import needs_posix

from mnist_cli.data import own_data


def pixels_of(path: Path) -> bytes:
    with Image.open(path) as image:
        return np.asarray(image).tobytes()


def test_train_and_test_as_they_lie(tmp_path: Path) -> None:
    picture_folder(tmp_path / "train", 4)
    picture_folder(tmp_path / "test", 2, classes=("disc", "bar"))
    data = own_data.read_own(tmp_path)
    assert data.spec.classes == ("bar", "disc", "frame")
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.test.labels.tolist() == [0] * 2 + [1] * 2
    assert data.remarks == ()
    for image, path in zip(data.train.images, data.train.files, strict=True):
        assert image.tobytes() == pixels_of(path)
    counted = [("bar", 4, 2), ("disc", 4, 2), ("frame", 4, 0)]
    assert data.counts() == counted


def test_a_test_set_is_cut_by_class_and_by_content(tmp_path: Path) -> None:
    picture_folder(tmp_path / "a", 10, classes=("x", "y"))
    data = own_data.read_own(tmp_path / "a")
    assert data.counts() == [("x", 8, 2), ("y", 8, 2)]
    assert "4 images, one in 5 of each class" in data.remarks[0]
    both = {image.tobytes() for image in data.train.images}
    tested = {image.tobytes() for image in data.test.images}
    assert both | tested == {pixels_of(path) for path in (tmp_path / "a").rglob("*.png")}
    assert not both & tested
    for split, arrays in (("train", data.train), ("test", data.test)):
        files = data.files()[split]
        found = [pixels_of(tmp_path / "a" / file) for file in files]
        assert found == [image.tobytes() for image in arrays.images]
    for number, path in enumerate((tmp_path / "a" / "x").iterdir()):
        path.rename(path.with_name(f"renamed-{100 - number}.png"))
    again = own_data.read_own(tmp_path / "a")
    assert {image.tobytes() for image in again.test.images} == tested


@pytest.mark.parametrize("names", [("2", "10", "1"), ("b", "a", "10")])
def test_the_order_of_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    picture_folder(tmp_path, 2, classes=names)
    numbers = all(name.isdecimal() for name in names)
    expected = tuple(sorted(names, key=int) if numbers else sorted(names))
    assert own_data.read_own(tmp_path).spec.classes == expected


def test_what_is_passed_over(tmp_path: Path) -> None:
    picture_folder(tmp_path / "train", 3)
    (tmp_path / "train" / "bar" / "deeper").mkdir()
    shutil.copy(tmp_path / "train/bar/000.png", tmp_path / "train/bar/deeper/copy.PNG")
    for name in ("train/bar/.hidden.png", "train/bar/Thumbs.db", "train/bar/list.csv"):
        (tmp_path / name).write_bytes(b"x")
    picture_folder(tmp_path / "more", 1)
    for name in (".git", "__MACOSX", "lost+found", "@eaDir", "train/bar/@eaDir"):
        picture_folder(tmp_path / name, 1)
    data = own_data.read_own(tmp_path)
    assert sum(one + other for _, one, other in data.counts()) == 10
    assert "not used: more/" in data.remarks
    assert "not pictures, ignored: 2 files (.csv, .db)" in data.remarks


def test_pictures_outside_the_folders_of_classes_are_said(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2)
    for name in ("loose.png", "other.png"):
        shutil.copy(tmp_path / "bar/000.png", tmp_path / name)
    (tmp_path / "bar/notes.txt").write_text("x")
    (tmp_path / "train.csv").write_text("name,label\n000.png,bar\n")
    remarks = own_data.read_own(tmp_path).remarks
    assert "not used: train.csv" in remarks
    assert "not used: loose.png and 1 more, outside the class folders" in remarks
    assert "not pictures, ignored: 1 file (.txt)" in remarks


def test_colours_sizes_and_formats_are_brought_into_one_form(tmp_path: Path) -> None:
    picture_folder(tmp_path, 3)
    Image.new("RGB", (100, 50), (255, 0, 0)).save(tmp_path / "bar" / "red.jpg")
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "disc" / "clear.png")
    Image.new("I;16", (28, 28), 32768).save(tmp_path / "frame" / "deep.png")
    page = Image.new("L", (28, 28), 9)
    page.save(tmp_path / "frame" / "pages.tif", save_all=True, append_images=[page, page])
    data = own_data.read_own(tmp_path)
    assert len(data.train) + len(data.test) == 13
    (pages, sizes, _) = data.remarks
    assert pages == "1 of 13 images: only the first of several pages or frames is read"
    assert sizes.startswith("2 of 13 images are 9×9 to 100×50: the longer side is scaled to 28")


def test_a_class_named_train_is_a_class(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2, classes=("train", "car"))
    assert own_data.read_own(tmp_path).spec.classes == ("car", "train")


# --- what does not fit


def test_layouts_that_cannot_be_meant(tmp_path: Path) -> None:
    assert "holds neither folders of images nor IDX files" in refusal(tmp_path)
    (tmp_path / "labels.csv").write_text("name,label\n0.png,7\n")
    assert "labels.csv is not a table of images: 2 columns" in refusal(tmp_path)
    unpacked = tmp_path / "train-images-idx3-ubyte"
    unpacked.mkdir()
    (unpacked / unpacked.name).write_bytes(b"\0\0\x08\x03")
    assert f"{unpacked / unpacked.name} is an IDX file" in refusal(tmp_path)
    shutil.rmtree(unpacked)
    Image.new("L", (28, 28)).save(tmp_path / "loose.png")
    assert "images, but no folder for each class" in refusal(tmp_path)
    picture_folder(tmp_path / "test", 1)
    assert "has test/, but no train/ beside it" in refusal(tmp_path)
    picture_folder(tmp_path / "train", 1, classes=("bar",))
    assert "has the classes disc, frame without" in refusal(tmp_path)
    picture_folder(tmp_path / "test", 1, classes=("a", "b", "c"))
    assert "has the classes a, b, c, disc, frame without" in refusal(tmp_path)
    picture_folder(tmp_path / "test", 1, classes=("d",))
    assert "has the classes a, b, c, d, disc, … without" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "test")
    assert "only the class 'bar'" in refusal(tmp_path)
    picture_folder(tmp_path / "train", 1, classes=("bar", "disc"))
    assert "the class 'bar' has only one image" in refusal(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    assert "no images in the folder empty" in refusal(tmp_path)


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "file is not a table of images: 1 column" in refusal(tmp_path / "file")
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "File name too long" in refusal(tmp_path / ("x" * 300))


def test_pictures_that_cannot_be_used_are_counted_and_named(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2)
    whole = (tmp_path / "bar" / "000.png").read_bytes()
    broken = {
        "bomb.png": png_bomb(),
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"no picture at all",
        "evil.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "z.png": b"\0" * 50,
    }
    for name, content in broken.items():
        (tmp_path / "bar" / name).write_bytes(content)
    Image.new("L", (3, 50)).save(tmp_path / "disc" / "thin.png")
    message = refusal(tmp_path)
    assert f"7 of the images in {tmp_path} cannot be used" in message
    assert "bomb.png would unpack to more than" in message
    assert "cut.png is a damaged picture" in message
    assert "and 2 more" in message
    assert "take them out" in message


@needs_posix
def test_links_that_go_round_do_not_hang(tmp_path: Path) -> None:
    picture_folder(tmp_path, 2)
    (tmp_path / "bar" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "disc" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "gone.png" in refusal(tmp_path)
    (tmp_path / "disc" / "gone.png").unlink()
    data = own_data.read_own(tmp_path)
    assert len(data.train) == 3
    assert "not pictures, ignored: 1 file (a link to a folder)" in data.remarks
