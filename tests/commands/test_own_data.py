"""A user's own images, from training to prediction, without a line of code."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn import drawing
from matplotlib.axes import Axes
from own_files import SHAPES, both_splits, picture_folder, shape
from PIL import Image
from program import Outcome, Run, finish

from mnist_cli import cli
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.inference.drawings import SIDE, answer
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.insight.pixels import saliency
from mnist_cli.networks import registry as models
from mnist_cli.vision.fitting import IN_WORDS

SMALL = (
    *("train", "--config", "smoke", "--epochs", 6, "--batch-size", 8, "--quiet"),
    *("--set", "threads=1", "--set", "precision=fp32"),
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of 40 by 32 pixels, trained once: it is only read."""
    folder = tmp_path_factory.mktemp("own")
    picture_folder(folder / "pics", 20, (40, 32))
    words = [*SMALL, "--dataset", folder / "pics", "--runs", folder / "runs"]
    assert cli.run([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def run_of(own: Path) -> Path:
    return own / "runs" / "0001-pics-conv2"


def said(outcome: Outcome) -> str:
    return " ".join(outcome.err.split())


def test_the_record_of_the_run(own: Path, run_of: Path) -> None:
    data = torch.load(run_of / "last.pt", weights_only=True)["data"]
    assert data["name"] == str(own / "pics")
    assert tuple(data["classes"]) == SHAPES
    assert 0 < data["mean"] < 1
    assert 0 < data["std"] < 1
    assert data["fingerprint"].startswith("sha256:")
    environment = json.loads((run_of / "environment.json").read_text())
    assert len(environment["remarks"]) == 2
    summary = json.loads((run_of / "summary.json").read_text())
    assert summary["test"]["count"] == 12
    assert summary["test"]["accuracy"] > 0.9


def test_what_was_done_to_the_images_is_said(run: Run, own: Path) -> None:
    outcome = run("train", *SMALL[1:-5], "--dataset", own / "pics", "--dry-run")
    text = said(outcome)
    assert "60 of 60 images are 32×40: the longer side is scaled to 28 pixels" in text
    assert "no test set found: 12 images, one in 5 of each class, are held out" in text


def test_it_evaluates_by_itself(run: Run, run_of: Path) -> None:
    """Neither data nor classes need be named: the checkpoint knows them."""
    outcome = run("eval", run_of, "--json")
    assert outcome.code == 0, outcome.err
    summary = json.loads((run_of / "summary.json").read_text())
    assert outcome.document["loss"] == summary["test"]["loss"]
    assert [one["name"] for one in outcome.document["per_class"]] == list(SHAPES)
    assert run("eval", run_of, "--split", "val", "--json").document["count"] == 4


def test_mistakes_are_named_by_their_files(run: Run, own: Path, run_of: Path) -> None:
    """One picture of a disc lies among the bars."""
    shutil.copytree(own / "pics", "wrong/train")
    for name in SHAPES:
        (Path("wrong/test") / name).mkdir(parents=True)
        shutil.copy(own / "pics" / name / "001.png", Path("wrong/test") / name)
    shutil.copy(own / "pics/disc/000.png", "wrong/test/bar/stray.png")
    document = run("eval", run_of, "--dataset", "wrong", "--json").document
    assert [one["path"] for one in document["mistakes"]] == ["test/bar/stray.png"]
    assert "test/bar/stray.png" in run("eval", run_of, "--dataset", "wrong").out


def test_moved_images_are_the_same_and_changed_ones_are_not(
    run: Run, own: Path, run_of: Path
) -> None:
    shutil.copytree(own / "pics", "moved")
    outcome = run("eval", run_of, "--dataset", "moved", "--split", "val", "--json")
    assert outcome.code == 0, outcome.err
    assert "was trained on" not in outcome.err
    (Path("moved") / "bar" / "000.png").unlink()
    changed = run("eval", run_of, "--dataset", "moved", "--json")
    assert changed.code == 0
    assert f"was trained on {own}/pics, not on" in said(changed)
    assert "by number" not in said(changed)
    (Path("moved") / "bar").rename("moved/zebra")
    renamed = run("eval", run_of, "--dataset", "moved", "--json")
    assert "class 0 is 'bar' in the checkpoint, but 'disc' in moved" in said(renamed)
    resumed = run("train", "--resume", run_of, "--dataset", "moved", "--runs", "r", "--quiet")
    assert resumed.code == 4
    assert "was trained on different data" in said(resumed)


def test_images_that_change_under_the_same_name_are_reported(run: Run) -> None:
    picture_folder(Path("pics"), 10)
    assert run(*SMALL, "--dataset", "pics").code == 0
    (Path("pics") / "bar" / "000.png").unlink()
    outcome = run("eval", "--json")
    assert outcome.code == 0
    assert "some of its training images may now be among the test images" in said(outcome)


def test_it_goes_on_where_it_stopped_though_its_images_were_moved(run: Run) -> None:
    picture_folder(Path("pics"), 10)
    whole = run(*SMALL, "--dataset", "pics", "--runs", "whole", "--json").document
    stop = ("--set", "target_accuracy=0.000001")
    assert run(*SMALL, "--dataset", "./pics/", "--runs", "part", *stop).code == 0
    Path("pics").rename("elsewhere")
    go_on = ("train", "--resume", "part/0001-pics-conv2", "--set", "target_accuracy=0", "--quiet")
    assert run(*go_on).code == 3
    resumed = run(*go_on, "--dataset", "elsewhere", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["epochs"] == 6
    assert resumed.document["test"] == whole["test"]


def test_it_predicts_pictures_as_it_was_trained_on_them(run: Run, own: Path, run_of: Path) -> None:
    """Whole and as they are, by plain torch; MNIST's form would turn and crop them."""
    for kind, name in enumerate(SHAPES):
        Image.fromarray(shape(kind, 28, 28, seed=9000 + kind)).save(f"{name}.png")
    names = [f"{name}.png" for name in SHAPES]
    document = run("predict", *names, "--checkpoint", run_of, "--json").document
    assert [one["class"] for one in document] == list(SHAPES)
    loaded = torch.load(run_of / "best.pt", weights_only=True)
    network = models.build("conv2", 3).eval()
    network.load_state_dict(loaded["model"]["weights"])
    pixels = np.stack([shape(kind, 28, 28, seed=9000 + kind) for kind in range(3)]) / 255
    images = torch.as_tensor((pixels - loaded["data"]["mean"]) / loaded["data"]["std"]).float()
    with torch.no_grad():
        expected = network(images[:, None]).softmax(1)
    found = torch.tensor([one["probabilities"] for one in document])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    lines = run("predict", *names, "--checkpoint", run_of, "--csv").out.splitlines()
    rows = list(csv.DictReader(lines))
    assert [(row["digit"], row["class"]) for row in rows] == list(zip("012", SHAPES, strict=True))
    shown = run("predict", "disc.png", "--checkpoint", run_of)
    assert "pictures are not cropped or inverted" in said(shown)
    assert "disc" in shown.out
    refused = run("predict", "disc.png", "--checkpoint", run_of, "--segment")
    assert refused.code == 2


def test_its_gradients_replay_and_its_pictures_are_drawn(run: Run, run_of: Path) -> None:
    replay = run("inspect-grad", run_of, "--replay", "--batch-size", 4, "--json", "--out", "g")
    assert replay.code == 0, replay.err
    assert replay.document["dataset"] == "pics"
    assert "pics: 3 classes" in replay.err
    assert "warning" not in replay.err
    drawn = run("plot", run_of, "--only", "confusion,maximised", "--out", "p", "--json")
    assert drawn.code == 0, drawn.err


def test_idx_files_of_another_size_with_a_network_of_ones_own(run: Run) -> None:
    both_splits(Path("shapes"))
    network = Path(__file__).parents[2] / "docs" / "examples" / "net.py"
    named = ("--model", f"{network}:Net")
    outcome = run(*SMALL, "--dataset", "shapes/", *named, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["run"] == "runs/0001-shapes-Net"
    assert outcome.document["test"]["count"] == 12
    evaluated = run("eval", *named, "--json").document
    assert evaluated["accuracy"] == outcome.document["test"]["accuracy"]


# --- mnist data


def test_data_verify_path_and_show(run: Run, own: Path) -> None:
    verified = run("data", "verify", own / "pics", "--json")
    assert verified.code == 0
    assert verified.document["classes"] == [
        {"class": name, "train": 16, "test": 4} for name in SHAPES
    ]
    assert "bar" in run("data", "verify", own / "pics").out
    places = run("data", "path", own / "pics").out.splitlines()
    assert places == [str(own / "pics" / name) for name in SHAPES]
    shown = run("data", "show", own / "pics", "--count", 3, "--out", "it.png", "--json").document
    assert [one["class"] for one in shown["samples"]] == list(SHAPES)


def test_data_that_cannot_be_used(run: Run, own: Path) -> None:
    assert run("data", "fetch", own / "pics").code == 2
    shutil.copytree(own / "pics", "pics")
    (Path("pics") / "bar" / "000.png").write_bytes(b"no picture")
    for command in (
        ("data", "verify", "pics"),
        ("data", "show", "pics"),
        (*SMALL, "--dataset", "pics"),
    ):
        outcome = run(*command)
        assert outcome.code == 3
        assert "1 of the images in" in said(outcome)
        assert "000.png is a text file, and not a picture in a supported format" in said(outcome)
    assert run(*SMALL, "--dataset", "nowhere/").code == 3
    assert run(*SMALL, "--dataset", "nowhere").code == 2
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_a_network_of_other_classes(run: Run, own: Path, trained: Path) -> None:
    outcome = run("eval", trained, "--dataset", own / "pics")
    assert outcome.code == 4
    assert "has 10 classes, but pics has 3" in said(outcome)


@pytest.mark.parametrize("place", ["/dev", "/proc/self/fd", "/nowhere", "relative/path"])
def test_a_place_in_a_strangers_checkpoint_is_looked_into_and_no_more(
    run: Run, run_of: Path, place: str
) -> None:
    loaded = torch.load(run_of / "last.pt", weights_only=True)
    loaded["data"]["name"] = place
    torch.save(loaded, "hostile.pt")
    assert run("eval", "hostile.pt").code in (2, 3)


def test_an_exported_file_says_how_these_images_are_prepared(
    run: Run, run_of: Path, trained: Path
) -> None:
    """MNIST's files are light on dark; of the user's own that is not known."""
    own, mnists = (
        run("export", source, "--format", "safetensors", "--out", f"{number}.it", "--json")
        for number, source in enumerate((run_of, trained))
    )
    assert own.code == mnists.code == 0, own.err
    text = own.document["metadata"]["input"]
    assert IN_WORDS in text
    assert "as in the pictures it was trained on" in text
    assert "MNIST" not in text
    assert IN_WORDS not in mnists.document["metadata"]["input"]


@pytest.mark.parametrize("light", [False, True])
def test_a_drawing_is_prepared_as_pictures_are(run: Run, run_of: Path, light: bool) -> None:
    """Beside mnist predict of the same drawing as a picture, on the ground of the images."""
    random = np.random.default_rng(4)
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[30:120, 60:200] = random.integers(0, 256, (90, 140))  # off the centre, and stays there
    loaded = torch.load(run_of / "best.pt", weights_only=True)
    assert loaded["data"]["mean"] < 0.5
    loaded["data"]["mean"] = 0.75 if light else loaded["data"]["mean"]
    torch.save(loaded, "it.pt")
    Image.fromarray(255 - ink if light else ink).save("drawing.png")
    (known,) = run("predict", "drawing.png", "--checkpoint", "it.pt", "--json").document
    opened = OpenCheckpoint(checkpoints.read(Path("it.pt")), torch.device("cpu"))
    found = answer(opened, ink.tobytes())
    assert found["probabilities"] == pytest.approx(known["probabilities"], abs=1e-6)
    form = np.frombuffer(base64.b64decode(found["form"]), np.uint8).reshape(28, 28)
    small = (255.0 - ink if light else ink).reshape(28, 10, 28, 10).mean(axis=(1, 3))
    assert abs(form - small).max() <= 1
    outline = np.frombuffer(base64.b64decode(found["ink"]), np.uint8).reshape(28, 28)
    assert (outline == (255 - form if light else form)).all()
    ink_says = saliency_of(found)
    brightness_says = saliency(
        opened.network, torch.tensor(form)[None], opened.normalisation
    ).gradient.numpy()
    agreement = (ink_says * brightness_says).sum()
    assert (agreement < 0) if light else (agreement > 0)


def saliency_of(answer: dict[str, Any]) -> npt.NDArray[np.int8]:
    values = base64.b64decode(answer["saliency"]["gradient"]["values"])
    return np.frombuffer(values, np.int8).reshape(28, 28)


def test_pictures_of_ones_own_are_shown_as_they_are(
    run: Run, run_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a known data set are drawn as ink: dark where they are bright."""
    maps: list[object] = []
    imshow = Axes.imshow
    monkeypatch.setattr(
        Axes,
        "imshow",
        lambda self, *a, cmap=None, **n: (maps.append(cmap), imshow(self, *a, cmap=cmap, **n))[1],
    )
    words = ["--only", "saliency,mistakes,maximised", "--out", "p", "--quiet"]
    assert run("plot", run_of, *words).code == 0
    names = [getattr(one, "name", one) for one in maps]
    assert "gray" in names
    assert "gray_r" not in names


def test_drawing_says_how_drawings_are_taken(run_of: Path) -> None:
    with drawing(run_of) as there:
        there.process.send_signal(signal.SIGINT)
        told = finish(there.process).err
    assert "drawings are not cropped; the paper is dark" in " ".join(told.split())
