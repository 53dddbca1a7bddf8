"""``mnist data``: a folder's files as scripts and people see them, and samples as pictures."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from program import Run
from sklearn.datasets import load_digits

from mnist_cli import catalogue
from mnist_cli.api.places import data_folder
from mnist_cli.config import schema as configs
from mnist_cli.data import store
from mnist_cli.data.first_images import first_images
from mnist_cli.data.load import load
from mnist_cli.report import blocks

FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
FILES += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture
def flat() -> Path:
    """A folder with files of MNIST's names and formats, but not MNIST's images."""
    folder = Path("the files")
    folder.mkdir()
    for images, labels in (FILES[:2], FILES[2:]):
        (folder / images).write_bytes(struct.pack(">4i", 2051, 3, 28, 28) + bytes(3 * 28 * 28))
        (folder / labels).write_bytes(struct.pack(">2i", 2049, 3) + bytes([1, 2, 3]))
    return folder


@pytest.fixture
def three(flat: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and a catalogue whose MNIST is just these files."""
    real = catalogue.get("mnist")
    files = tuple(
        replace(file, md5=None, archive_md5=None, bytes=(flat / file.name).stat().st_size)
        for file in real.files
    )
    small = replace(real, files=files, train_count=3, test_count=3)
    monkeypatch.setattr(catalogue, "get", lambda name: small)
    return flat


def test_path_prints_one_file_a_line(run: Run, three: Path) -> None:
    outcome = run("data", "path", "--data-dir", three)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [str(three / name) for name in FILES]
    assert run("data", "path", "--data-dir", three, "--json").document == {
        "dataset": "mnist",
        "files": [str(three / name) for name in FILES],
    }


def test_the_folder_may_come_from_the_environment(
    run: Run, three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(three))
    assert run("data", "path").out.splitlines()[0] == str(three / FILES[0])


@pytest.mark.parametrize("words", [[], ["--data-dir=~/the files"], ["--data-dir", "~/the files"]])
def test_a_tilde_that_the_shell_leaves_is_the_home_folder(
    run: Run, three: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("MNIST_DATA_DIR", "elsewhere" if words else "~/the files")
    assert run("data", "path", *words).out.splitlines()[0] == str(three.absolute() / FILES[0])
    assert data_folder("~/the files" if words else None) == three.absolute()


@pytest.mark.parametrize("command", ["path", "verify"])
def test_missing_and_foreign_files_are_named(run: Run, flat: Path, command: str) -> None:
    (flat / FILES[1]).unlink()
    outcome = run("data", command, "--data-dir", flat)
    assert outcome.code == 3
    assert "4 of 4 files of MNIST are missing or bad" in outcome.err
    assert f"{FILES[1]}: missing" in outcome.err
    assert "is not the MNIST file" in outcome.err
    assert f"mnist data fetch mnist --data-dir '{flat}'" in outcome.err
    assert all(name in outcome.out for name in FILES) is (command == "verify")


@pytest.mark.mnist
def test_the_real_files(run: Run, mnist_dir: Path) -> None:
    outcome = run("data", "verify", "--data-dir", mnist_dir)
    assert outcome.code == 0
    assert [line.split()[-1] for line in outcome.out.splitlines()[1:]] == ["ok"] * 4
    fetched = run("data", "fetch", "--data-dir", mnist_dir)
    assert fetched.code == 0
    path = run("data", "path", "--data-dir", mnist_dir).out.splitlines()[0]
    assert f" {Path(path).parent}\n" in fetched.out
    document = run("data", "fetch", "--data-dir", mnist_dir, "--json").document
    paths = [Path(file["path"]) for file in document["files"]]
    assert {path.parent for path in paths} == {Path(document["folder"])}
    assert [one["bytes"] for one in document["files"]] == [path.stat().st_size for path in paths]


@pytest.mark.parametrize("command", ["fetch", "verify", "path"])
def test_bundled_digits_have_no_files(run: Run, command: str) -> None:
    outcome = run("data", command, "digits")
    assert (outcome.code, outcome.out) == (0, "")
    assert "come with the program" in outcome.err
    assert "8×8 pixels with 17 grey levels, enlarged to 28×28" in outcome.err
    document = run("data", command, "digits", "--json").document
    assert (document.get("folder"), document["files"]) == (None, [])


def test_show_prints_the_image_in_shades(run: Run) -> None:
    outcome = run("data", "show", "digits", "--indices", "0,7")
    assert outcome.code == 0
    assert "8×8 pixels with 17 grey levels, enlarged to 28×28" in outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 14 + 1
    drawn = np.array([[c != " " for c in line.ljust(57)] for line in lines[:-1]])
    digits = load_digits()
    for column, word in ((0, "#0"), (29, "#7")):
        assert lines[-1][column:].startswith(word)
        ink = drawn[:, column : column + 28].mean()
        assert 0.1 < ink < 0.6
    assert lines[-1].split()[1] == str(digits.target[0])


def test_show_as_json(run: Run) -> None:
    document = run("data", "show", "digits", "--count", 3, "--split", "test", "--json").document
    assert (document["dataset"], document["split"]) == ("digits", "test")
    assert [sample["index"] for sample in document["samples"]] == [0, 127, 254]
    assert all(sample["class"] == str(sample["label"]) for sample in document["samples"])


def test_show_as_a_picture(run: Run) -> None:
    assert run("data", "show", "digits", "--count", 12, "--out", "new/grid.png").code == 0
    height, width, _channels = imread("new/grid.png").shape
    assert 800 < width < 2500
    assert 200 < height < 1000


RECORDER = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, images):
        if self.training and len(images) == 24:
            torch.save(images.detach(), "first.pt")
        return super().forward(images)
"""


@pytest.mark.parametrize("loader", ["device", "dataloader"])
def test_the_augmented_images_are_those_that_training_sees(run: Run, loader: str) -> None:
    if loader == "dataloader":
        pytest.importorskip("torchvision")
    Path("net.py").write_text(RECORDER)
    recipe = ["--set", f"loader={loader}", "--set", "rotate=30", "--set", "erase=0.5"]
    recipe += ["--seed", "3", "--set", "batch_size=24"]
    words = ["train", "--dataset", "digits", "--model", "net.py:Net", "--max-steps", "1"]
    trained = run(*words, *recipe, "--precision", "fp32", "-q")
    assert trained.code == 0, trained.err
    seen = torch.load("first.pt", weights_only=True).squeeze(1)
    data = load("digits", Path("data"))
    spec, config = data.spec, configs.compose([configs.from_assignments(recipe[1:6:2])])
    config = config.model_copy(update={"dataset": "digits", "seed": 3, "batch_size": 24})
    found = first_images(config, data, 24)
    pixels = 255 * (seen * spec.std + spec.mean)
    assert np.abs(found.after - pixels.numpy()).max() <= 0.51
    assert np.abs(found.after.astype(int) - found.before.images).max() > 50
    shown = run("data", "show", "digits", "--augmented", "-n", "24", *recipe, "--json").document
    numbers = [one["index"] for one in shown["samples"]]
    assert numbers == found.before.indices.tolist()
    assert (shown["augmentation"]["rotate"], shown["seed"]) == (30, 3)
    in_file = store.read(spec, "train", Path("nowhere"))
    assert np.array_equal(found.before.images, in_file.images[numbers])
    assert [one["label"] for one in shown["samples"]] == in_file.labels[numbers].tolist()


def test_augmented_images_are_shown_below_the_others(run: Run) -> None:
    words = ["data", "show", "digits", "--augmented", "--count", "2"]
    outcome = run(*words)
    assert "shift ±2 pixels, rotate ±10°" in outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 14 + 1 + 14 + 1
    assert set(lines[14]) == {"=", " "}
    none = [f"--set={key}=0" for key in ("shift", "rotate", "scale", "shear")]
    still = run(*words, *none)
    assert "augmentation: none" in still.err
    assert still.out.splitlines()[:14] == still.out.splitlines()[15:29]
    assert run(*words, "--out", "pairs.png", "--dark").code == 0
    assert imread("pairs.png")[0, 0, :3].mean() < 0.2


@pytest.mark.parametrize(("name", "code"), [("grid.xyz", 2), ("grid", 2), ("file/grid.png", 5)])
def test_a_picture_that_cannot_be_written(run: Run, name: str, code: int) -> None:
    Path("file").touch()
    outcome = run("data", "show", "digits", "--out", name)
    assert outcome.code == code
    assert name.removesuffix("/grid.png") in outcome.err


def test_half_blocks_have_the_pixels_colours() -> None:
    image = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    seen = np.zeros_like(image)
    for row, line in enumerate(blocks.colour_lines(image)):
        for column, cell in enumerate(line):
            assert cell.style is not None
            for offset, colour in ((0, cell.style.color), (1, cell.style.bgcolor)):
                assert colour is not None
                assert colour.triplet is not None
                seen[2 * row + offset, column] = colour.triplet.red
    assert (seen == image).all()


def test_shades_go_from_blank_to_dense() -> None:
    ramp = np.repeat(np.linspace(0, 255, 10).astype(np.uint8)[None], 2, axis=0)
    (line,) = blocks.plain_lines(ramp)
    assert (line[0], line[-1]) == (" ", "@")
    assert [blocks.SHADES.index(shade) for shade in line] == sorted(map(blocks.SHADES.index, line))
