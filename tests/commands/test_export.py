"""``mnist export``: the file, what it says of itself, and when nothing is written."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from own_files import body, network_file
from program import TINY, Run
from safetensors import safe_open
from systems import needs_posix
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue
from mnist_cli.data import store
from mnist_cli.errors import Caution
from mnist_cli.exporting import onnx_model, program
from mnist_cli.exporting.classifier import Answer
from mnist_cli.inference import exports
from mnist_cli.networks import registry as models


@pytest.fixture
def copy(trained: Path) -> Path:
    """A run directory of its own."""
    return shutil.copytree(trained, Path("runs", "0001-digits-conv2"))


def raw_images(name: str, folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The test images (N, 1, 28, 28), uint8, as they lie in their files, and the labels."""
    test = store.read(catalogue.get(name), "test", folder)
    return test.images.reshape(-1, 1, 28, 28), test.labels.astype(np.int64)


@torch.no_grad()
def plain_answers(checkpoint: Path, name: str, images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Probabilities by plain torch: the weights, the network, torchvision's normalisation."""
    document = torch.load(checkpoint, weights_only=True)
    network = models.build(document["model"]["name"])
    weights = document["model"]["weights"]
    if document["ema"] is not None:
        weights = {
            key.removeprefix("module."): tensor
            for key, tensor in document["ema"].items()
            if key != "n_averaged"
        }
    network.load_state_dict(weights)
    spec = catalogue.get(name)
    parts = torch.as_tensor(images).split(500)
    return torch.cat(
        [
            network.eval()(normalize(part.float() / 255, [spec.mean], [spec.std])).softmax(1)
            for part in parts
        ]
    )


def onnx_answers(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = np.array_split(images, max(1, len(images) // 500))
    return np.concatenate([session.run(None, {"images": part})[0] for part in parts])


def agree(path: Path, checkpoint: Path, name: str, folder: Path) -> float:
    """That the file predicts what plain torch does for every test image; its accuracy."""
    images, labels = raw_images(name, folder)
    theirs, ours = onnx_answers(path, images), plain_answers(checkpoint, name, images).numpy()
    assert np.abs(theirs - ours).max() < 1e-4
    assert (theirs.argmax(1) == ours.argmax(1)).all()
    return float((theirs.argmax(1) == labels).mean())


def test_onnx_of_a_run_agrees_on_every_test_image_and_says_what_it_is(run: Run, copy: Path) -> None:
    outcome = run("export", "--verify", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    document = outcome.document
    path = Path(document["file"])
    assert path == copy / "best.onnx"
    assert document["bytes"] == path.stat().st_size
    assert (document["format"], document["checkpoint"]) == ("onnx", str(copy / "best.pt"))
    accuracy = agree(path, copy / "best.pt", "digits", Path("nowhere"))
    verify = document["verify"]
    assert (verify["dataset"], verify["images"], verify["differing"]) == ("digits", 382, 0)
    assert verify["accuracy"] == pytest.approx(accuracy)
    assert 0 <= verify["largest_difference"] < 1e-4
    assert not list(copy.glob(".*.tmp"))

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    summary = json.loads((copy / "summary.json").read_text())
    spec = catalogue.get("digits")
    assert (said["model"], said["dataset"], said["members"]) == ("conv2", "digits", "1")
    assert json.loads(said["classes"]) == list(spec.classes)
    assert (float(said["mean"]), float(said["std"])) == (spec.mean, spec.std)
    assert float(said["test_accuracy"]) == summary["test"]["accuracy"]
    best = torch.load(copy / "best.pt", weights_only=True)["metrics"][-1]
    assert (int(said["epochs"]), float(said["val_accuracy"])) == (
        *(best["epoch"], best["val_accuracy"]),
    )
    assert said["checkpoint"] == "0001-digits-conv2/best.pt"
    assert run("export", copy / "last.pt", "-o", "last.safetensors").code == 0
    with safe_open("last.safetensors", "pt") as opened:
        assert "test_accuracy" not in opened.metadata()  # it is best.pt's
    assert said["input"].startswith("images: uint8 (batch, 1, 28, 28)")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--format", "torch"], "runs/0001-digits-conv2/best.pt2"),
        (["--out", "NET.SAFETENSORS"], "NET.SAFETENSORS"),
        (["--out", "new/weights.bin", "--format", "safetensors"], "new/weights.bin"),
    ],
)
def test_the_format_is_named_or_in_the_name(
    run: Run, copy: Path, words: list[str], name: str
) -> None:
    outcome = run("export", *words, "--verify")
    assert outcome.code == 0, outcome.err
    assert outcome.err == "runs/0001-digits-conv2/best.pt: conv2\n"
    assert outcome.out.splitlines()[0] == name
    assert "on the 382 test images of scikit-learn's digits: largest difference" in outcome.out
    assert Path(name).stat().st_size > 100_000


def test_an_ensemble_votes_in_the_file_too(run: Run) -> None:
    assert run(*TINY, "--ensemble", 2, "--epochs", 1, "--quiet").code == 0
    outcome = run("export", "--verify", "--out", "vote.onnx")
    assert outcome.code == 0, outcome.err
    assert "conv2, 2 networks that vote" in outcome.err
    assert run("export", "--out", "vote.safetensors").code == 0
    with safe_open("vote.safetensors", "pt") as opened:
        assert "0.conv1.weight" in opened.keys()  # noqa: SIM118 - no mapping
        assert "names begin with its number" in opened.metadata()["output"]


def test_another_programs_weights_are_exported_with_mnists_normalisation(run: Run) -> None:
    torch.save(models.build("example").state_dict(), "net.pt")
    assert run("export", "net.pt").code == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    spec = catalogue.get("mnist")
    assert (said["model"], float(said["mean"])) == ("example", spec.mean)
    assert "dataset" not in said
    network = models.build("example").eval()
    network.load_state_dict(torch.load("net.pt", weights_only=True))
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    with torch.no_grad():
        x = normalize(torch.as_tensor(images).float() / 255, [spec.mean], [spec.std])
        expected = network(x).exp().numpy()
    assert np.abs(onnx_answers(Path("net.onnx"), images) - expected).max() < 1e-5


def test_a_file_that_is_there_is_kept_unless_forced(run: Run, copy: Path) -> None:
    Path("net.safetensors").write_text("precious")
    outcome = run("export", "--out", "net.safetensors")
    assert outcome.code == 5
    assert "net.safetensors already exists\nReplace it with --force" in outcome.err
    assert Path("net.safetensors").read_text() == "precious"
    assert run("export", "--out", "net.safetensors", "--force").code == 0
    assert Path("net.safetensors").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--format", "tflite"], 2, "--format: should be one of onnx, torch, safetensors"),
        (["--out", "net.h5"], 2, "End it with .onnx, .pt2, .safetensors"),
        (["--out", "net"], 2, "no format has this suffix"),
        (["--out", "net.onnx", "--format", "torch"], 2, "contradict each other"),
        (["--dataset", "digits"], 2, "--dataset has no effect without --verify"),
        (["--data-dir", "data"], 2, "--data-dir has no effect without --verify"),
        (
            ["--format", "safetensors", "--batch-size", "2"],
            2,
            "--batch-size has no effect without --format onnx or torch",
        ),
        (
            ["--out", "net.safetensors", "--input-dtype", "uint8"],
            2,
            "--input-dtype has no effect without --format onnx or torch",
        ),
        (["--input-dtype", "float16"], 2, "--input-dtype: should be one of uint8, float32"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--out", "runs", "--format", "torch"], 5, "As in --out runs/best.pt2."),
        (
            ["--out", "runs/0001-digits-conv2/best.pt", "--format", "onnx", "--force"],
            5,
            "runs/0001-digits-conv2/best.pt is the checkpoint itself",
        ),
        (["--out", "runs", "--format", "onnx"], 5, "--out runs is a folder, not a file"),
        (["--out", "runs"], 5, "As in --out runs/best.onnx."),
        (["--out", "a-file/net.onnx"], 5, "a-file"),
        pytest.param(
            ["--out", "/dev/null", "--format", "onnx", "--force"],
            5,
            "/dev/null is not a file",
            marks=needs_posix,
        ),
        (["nothing.pt"], 4, "no checkpoint or run nothing.pt"),
        (["--verify", "--dataset", "cifar"], 2, "cifar"),
    ],
)
def test_what_makes_no_sense_is_named_before_anything_is_computed(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.setattr(exports, "make", None)
    Path("a-file").touch()
    outcome = run("export", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert not list(Path().rglob("*.onnx"))


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["--format", "onnx"], ["onnx", "onnxscript", "onnxruntime"]),
        (["--format", "onnx"], ["onnxruntime"]),
        (["--out", "net.safetensors"], ["safetensors"]),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], missing: list[str]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    outcome = run("export", *words)
    assert outcome.code == 2
    assert f"pip install {' '.join(missing)}" in outcome.err
    assert " and ".join(missing) in outcome.err


def spoilt(change: Any) -> Any:
    """program.load, with every answer changed."""
    load = program.load

    def wrong(*arguments: Any) -> Answer:
        answer = load(*arguments)
        return lambda images: change(answer(images), images)

    return wrong


def test_a_file_that_gives_other_answers_is_not_written(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "load", spoilt(lambda answer, _images: answer.roll(1, 1)))
    outcome = run("export", "--format", "torch", "--json")
    assert (outcome.code, outcome.document["error"]["kind"]) == (6, "export")
    assert "does not predict as the network does" in outcome.err
    assert not (copy / "best.pt2").exists()


def test_one_different_prediction_on_the_test_set_is_enough(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = raw_images("digits", Path("nowhere"))
    chosen = torch.as_tensor(images[200])

    def change(answer: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        it = (batch == chosen).flatten(1).all(1)
        return torch.where(it[:, None], 1 - answer, answer)

    monkeypatch.setattr(program, "load", spoilt(change))
    outcome = run("export", "--format", "torch", "--verify")
    assert outcome.code == 6
    assert "for 1 of 382 test images" in outcome.err
    assert not (copy / "best.pt2").exists()


def test_an_exporter_that_fails_is_a_usage_error(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No line of this file: another test's network may have made its folder the user's own.
    give_up = Mock(side_effect=RuntimeError("cannot follow\nmuch more"))
    monkeypatch.setattr(onnx_model, "encode", give_up)
    outcome = run("export")
    assert outcome.code == 2
    assert "'conv2' cannot be exported as ONNX: RuntimeError: cannot follow\n" in outcome.err
    assert "--format torch or safetensors can hold it." in outcome.err


def own_checkpoint(forward: str, init: str = "") -> list[str]:
    """The words that export a network of the user's own, saved by another program."""
    path = network_file(Path("net.py").resolve(), body(forward, init))
    torch.save(models.build(f"{path}:Net", 10).state_dict(), "net.pt")
    return ["export", "net.pt", "--model", "net.py:Net"]


def test_no_hint_names_the_precision_that_export_always_has(run: Run) -> None:
    weights = models.build("example").state_dict()
    weights["fc2.weight"].fill_(3e38)
    torch.save(weights, "net.pt")
    outcome = run("export", "net.pt", "--format", "torch")
    assert outcome.code == 6
    assert "are not finite\n`mnist inspect-grad` shows where it begins." in outcome.err


@pytest.mark.filterwarnings("ignore::mnist_cli.errors.Caution")
def test_a_network_that_is_random_in_evaluation_is_refused(run: Run) -> None:
    with pytest.warns(Caution, match="random numbers in evaluation mode"):
        words = own_checkpoint("self.fc(torch.nn.functional.dropout(x.flatten(1)))")
    with pytest.warns(Caution, match="random numbers in evaluation mode"):
        outcome = run(*words, "--format", "torch")
    assert outcome.code == 6
    assert "Is the network random in evaluation mode?" in outcome.err
    assert not Path("net.pt2").exists()


def test_the_hint_of_a_failed_export_works(run: Run) -> None:
    words = own_checkpoint("torch.stack([self.fc(one.flatten()) for one in x])")
    outcome = run(*words, "--format", "torch")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 4)
    assert "'net.py:Net' cannot be exported as torch.export: it computes differently" in outcome.err
    hint = "--format safetensors can hold it; --batch-size N exports it for N images at once; "
    hint += "write x.shape[0] for len(x), and batched operations for a loop over the images."
    assert hint in " ".join(outcome.err.split())
    assert not Path("net.pt2").exists()
    assert run(*words, "--format", "safetensors").code == 0
    assert run(*words, "--format", "torch", "--batch-size", 3).code == 0


def test_weights_with_two_names_are_exported_and_named(run: Run) -> None:
    words = own_checkpoint("self.again(x.flatten(1))", "        self.again = self.fc\n")
    outcome = run(*words, "--format", "safetensors")
    assert outcome.code == 0, outcome.err
    assert "again.weight = fc.weight, again.bias = fc.bias; written under each" in outcome.out
    with safe_open("net.safetensors", "pt") as opened:
        shared = json.loads(opened.metadata()["shared"])
        assert torch.equal(opened.get_tensor("again.weight"), opened.get_tensor("fc.weight"))
    assert shared == {"again.weight": "fc.weight", "again.bias": "fc.bias"}


def test_a_program_of_float32_and_five_images_is_verified_as_such(run: Run, copy: Path) -> None:
    words = ["--format", "torch", "--input-dtype", "float32", "--batch-size", 5, "--verify"]
    outcome = run("export", *words, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["verify"]["images"], document["verify"]["differing"]) == (382, 0)
    assert document["metadata"]["input"].startswith("images: float32 (5, 1, 28, 28), grey levels")
    assert document["metadata"]["output"].startswith("probabilities: float32 (5, 10)")
    names: dict[str, Any] = {}
    exec("\n".join(document["read"]), names)
    assert names["probabilities"].shape == (5, 10)


def test_the_lines_that_read_the_file_are_printed(run: Run, copy: Path) -> None:
    outcome = run("export", "--format", "torch")
    assert "\nRead it with:\n\nimport torch\nnetwork = torch.export.load('runs/" in outcome.out
    assert "Read it with" not in run("export", "--format", "safetensors", "-q").out


@pytest.mark.mnist
def test_ten_thousand_real_digits(run: Run, mnist_dir: Path) -> None:
    """Of a run of a few steps on the real files: weights that are trained, if not to their end."""
    data = ["--data-dir", mnist_dir]
    words = ["--set", "precision=fp32", "--set", "threads=1", "--set", "train_size=10240", "-q"]
    assert run("train", "--config", "fast", *words, *data).code == 0
    outcome = run("export", "--verify", "--json", "--out", "net.onnx", *data)
    assert outcome.code == 0, outcome.err
    verify = outcome.document["verify"]
    assert (verify["dataset"], verify["images"], verify["differing"]) == ("mnist", 10_000, 0)
    checkpoint = Path(outcome.document["checkpoint"])
    accuracy = agree(Path("net.onnx"), checkpoint, "mnist", mnist_dir)
    assert verify["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.5  # far from chance: what is compared are no ties
