"""``mnist eval``: the results, which scikit-learn computes too, and the splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from bits import rows
from matplotlib.image import imread
from program import TINY, Run
from sklearn import metrics
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue
from mnist_cli.data import store
from mnist_cli.networks import registry as models


def answers(run_directory: Path) -> tuple[list[int], list[int], torch.Tensor]:
    """Labels, answers and probabilities on the test set, by plain torch."""
    document = torch.load(run_directory / "best.pt", weights_only=True)
    network = models.build("conv2", 10)
    network.load_state_dict(document["model"]["weights"])
    network.eval()
    spec = catalogue.get("digits")
    test = store.read(spec, "test", Path("nowhere"))
    images = torch.as_tensor(test.images).reshape(-1, 1, 28, 28).float() / 255
    with torch.no_grad():
        logits = network(normalize(images, [spec.mean], [spec.std]))
    labels = torch.as_tensor(test.labels).tolist()
    return labels, logits.argmax(1).tolist(), logits.double().softmax(1)


def test_the_results_are_those_of_scikit_learn(run: Run, trained: Path) -> None:
    labels, said, probabilities = answers(trained)
    outcome = run("eval", trained, "--json")
    assert outcome.code == 0
    document = outcome.document
    assert document["checkpoint"] == str(trained / "best.pt")
    assert (document["dataset"], document["split"], document["count"]) == ("digits", "test", 382)
    assert document["accuracy"] == pytest.approx(metrics.accuracy_score(labels, said))
    loss = metrics.log_loss(labels, probabilities, labels=range(10))
    assert document["loss"] == pytest.approx(loss, rel=1e-4)
    assert document["confusion"] == metrics.confusion_matrix(labels, said).tolist()
    figures = metrics.precision_recall_fscore_support(labels, said, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "support"), figures, strict=True):
        assert [row[key] for row in document["per_class"]] == pytest.approx(list(column))
    wrong = sum(label != answer for label, answer in zip(labels, said, strict=True))
    assert len(document["mistakes"]) == wrong
    confidences = [mistake["confidence"] for mistake in document["mistakes"]]
    assert confidences == sorted(confidences, reverse=True)


def test_it_repeats_the_results_of_the_training_run(run: Run, trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    document = run("eval", trained, "--json").document
    assert {key: document[key] for key in ("loss", "accuracy", "count")} == summary["test"]


def test_a_network_at_another_width_is_read_from_its_checkpoint(run: Run) -> None:
    trained = run(*TINY, "--model", "conv2x0.25", "--json").document
    document = run("eval", "--json").document
    assert document["model"] == "conv2x0.25"
    assert document["accuracy"] == trained["test"]["accuracy"]
    weights = torch.load(trained["checkpoint"], weights_only=True)["model"]["weights"]
    assert weights["fc1.weight"].shape == (64, 200)
    torch.save(weights, "bare.pt")
    named = run("eval", "bare.pt", "--model", "conv2x0.25", "--dataset", "digits", "--json")
    assert named.document["accuracy"] == document["accuracy"]
    assert run("eval", "bare.pt", "--model", "conv2x0.5", "--dataset", "digits").code == 4


def test_the_newest_run_is_taken_and_named(run: Run, trained: Path) -> None:
    outcome = run("eval", "--runs", trained.parent)
    assert outcome.code == 0
    assert str(trained / "best.pt") in outcome.err
    assert outcome.out.startswith("accuracy ")
    for title in ("precision", "confusion matrix", "the most confident of"):
        assert title in outcome.out


def test_without_any_run(run: Run) -> None:
    outcome = run("eval")
    assert outcome.code == 4
    assert "no run with a checkpoint under runs/" in outcome.err
    assert "mnist train" in outcome.err


def test_the_splits_are_those_of_the_run(run: Run, trained: Path) -> None:
    best = max(row["val_accuracy"] for row in rows(trained))
    validation = run("eval", trained, "--split", "val", "--json").document
    assert (validation["count"], validation["accuracy"]) == (64, best)
    assert run("eval", trained, "--split", "train", "--json").document["count"] == 192


@pytest.mark.parametrize("command", [("eval",), ("inspect-grad", "--batch-size", "2")])
@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        ("data", {"name": "kmnist"}, "no run records its validation images"),
        ("config", {"val_size": 0}, "trained without a validation set"),
    ],
)
def test_without_a_validation_set_val_is_refused(
    run: Run, trained: Path, command: tuple[str, ...], part: str, changes: dict, reason: str
) -> None:
    whole = torch.load(trained / "last.pt", weights_only=True)
    whole[part] |= changes
    torch.save(whole, "changed.pt")
    name, *options = command
    outcome = run(name, "changed.pt", "--dataset", "digits", "--split", "val", *options)
    assert outcome.code == 2
    assert reason in outcome.err
    assert "Use the test or the train split." in outcome.err


def test_of_another_data_set_the_whole_training_set_is_taken(run: Run, trained: Path) -> None:
    whole = torch.load(trained / "last.pt", weights_only=True)
    whole["data"]["name"] = "kmnist"
    torch.save(whole, "elsewhere.pt")
    outcome = run("eval", "elsewhere.pt", "--dataset", "digits", "--split", "train", "--json")
    assert outcome.document["count"] == catalogue.get("digits").train_count
    assert "was trained on kmnist, not on digits" in outcome.err


def test_other_programs_weights_are_recognised(run: Run) -> None:
    weights = {f"model.{k}": v.half() for k, v in models.build("notebook").state_dict().items()}
    torch.save({"epoch": 3, "net": weights}, "theirs.pt")
    outcome = run("eval", "theirs.pt", "--dataset", "digits", "--json")
    assert outcome.code == 0
    document = outcome.document
    assert (document["model"], document["count"]) == ("notebook", 382)
    assert document["precision"] == "fp32"
    assert document["notes"] == [
        "the weights are those under 'net'",
        "the prefix 'model.' was removed from the names",
        "8 tensors were cast from float16 to float32",
    ]
    assert all(note in outcome.err for note in document["notes"])
    assert "the weights are those" not in run("eval", "theirs.pt", "--dataset", "digits", "-q").err


def test_outputs_that_are_not_finite_are_an_error(run: Run, trained: Path) -> None:
    whole = torch.load(trained / "best.pt", weights_only=True)
    torch.save({name: 1e25 * one for name, one in whole["model"]["weights"].items()}, "large.pt")
    outcome = run("eval", "large.pt", "--dataset", "digits", "--json")
    assert (outcome.code, outcome.document["error"]["kind"]) == (6, "non-finite")
    assert "382 of 382 images" in outcome.err


def test_plots_are_pictures(run: Run, trained: Path) -> None:
    outcome = run("eval", trained, "--out", "plots", "--quiet")
    assert outcome.code == 0
    for name in ("confusion.png", "mistakes.png"):
        height, width, _channels = imread(Path("plots", name)).shape
        assert min(height, width) > 400
        assert max(height, width) < 2500


def test_a_folder_for_plots_that_cannot_be_written(run: Run, trained: Path) -> None:
    Path("file").touch()
    assert run("eval", trained, "--out", "file").code == 5


def test_an_unfinished_run_is_said(run: Run, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "runs/0001-digits-conv2")
    assert "unfinished" not in run("eval").err
    (folder / "summary.json").unlink()
    outcome = run("eval", "--json")
    assert outcome.code == 0
    assert "runs/0001-digits-conv2 is unfinished: 3 of 3 epochs" in outcome.err
