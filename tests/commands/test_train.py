"""``mnist train``: what it prints and leaves, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest
from program import TINY, Run

from mnist_cli.errors import Caution, DataError


def test_a_run_ends_with_its_curves_and_no_leftovers(run: Run) -> None:
    assert run(*TINY).code == 0
    names = {path.name for path in Path("runs/0001-digits-conv2").iterdir()}
    assert names == {
        *("config.toml", "environment.json", "metrics.jsonl", "last.pt", "best.pt"),
        *("summary.json", "curves.png", "run.lock"),
    }


def test_json_is_one_document_with_what_scripts_rely_on(run: Run) -> None:
    outcome = run(*TINY, "--json", "--epochs", 1)
    assert outcome.code == 0
    summary = outcome.document
    assert summary["run"] == "runs/0001-digits-conv2"
    assert Path(summary["checkpoint"]).is_file()
    assert (summary["dataset"], summary["model"], summary["epochs"]) == ("digits", "conv2", 1)
    assert summary["train_seconds"] > 0
    assert summary["test"]["count"] == 382
    right = summary["test"]["accuracy"] * summary["test"]["count"]
    assert right == pytest.approx(round(right))
    assert json.loads(Path(summary["run"], "summary.json").read_text()) == summary
    assert outcome.err == ""


def test_plain_output_is_a_line_an_epoch_and_the_result(run: Run) -> None:
    outcome = run(*TINY)
    lines = outcome.out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]
    assert lines[3].startswith("test accuracy ")
    assert lines[-2:] == [
        "run         runs/0001-digits-conv2",
        "checkpoint  runs/0001-digits-conv2/best.pt",
    ]
    assert "192 training images, 64 validation, 382 test" in outcome.err


def test_quiet_prints_the_result_only(run: Run) -> None:
    outcome = run(*TINY, "--quiet", "--epochs", 1)
    assert outcome.out.startswith("test accuracy ")
    assert outcome.err == ""


def test_flags_win_over_set_and_set_over_the_file(run: Run) -> None:
    Path("mine.toml").write_text('dataset = "digits"\nmodel = "conv2"\nbatch_size = 16\nlr = 1.0\n')
    flags = ["--config", "mine.toml", "--set", "lr=0.5", "--set", "batch_size=32", "-b", 48]
    assert run("train", "--dry-run", *flags).code == 0  # all three together are allowed
    assert run("train", *flags, "-e", 1, "-s", "train_size=48", "-s", "val_size=0").code == 0
    config = tomllib.loads(Path("runs/0001-digits-conv2/config.toml").read_text())
    assert (config["batch_size"], config["lr"]) == (48, 0.5)


def test_the_configuration_is_printed_without_the_options_of_a_run(
    run: Run, tmp_path: Path
) -> None:
    asked = ("train", "--config", "smoke", "--print-config", "--lr", 0.5)
    outcome = run(*asked, "--name", "x", "--dark", "--rank-timeout", 9)
    assert tomllib.loads(outcome.out)["lr"] == 0.5
    assert "--rank-timeout, --name, --dark: not part of the configuration" in outcome.err
    assert "not part" not in run(*asked).err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_keeps_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("train", "--config", "smoke", "--dry-run", "--json", "--batch-size", 5000)
    assert outcome.code == 0
    assert (outcome.document["run"], outcome.document["checkpoint"]) == (None, None)
    assert list(tmp_path.iterdir()) == []
    plain = run("train", "--config", "smoke", "--dry-run")
    assert "checkpoint" not in plain.out
    assert "nothing was kept" in plain.err
    refused = run("train", "--config", "smoke", "--dry-run", "--set", "train_size=5000")
    assert (refused.code, "train_size 5000 exceed" in refused.err) == (2, True)


def no_mnist(*_arguments: object, **_options: object) -> None:
    raise DataError("MNIST is not on disk, and no mirror can be reached")


def test_without_mnist_the_bundled_digits_with_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cli.data.fetch.fetch", no_mnist)
    tiny = [word for word in TINY if word not in {"--config", "smoke"}]
    with pytest.warns(Caution, match="MNIST is not available"):
        outcome = run(*tiny, "--model", "conv2", "--epochs", 1, "--json")
    assert outcome.code == 0
    assert outcome.document["dataset"] == "digits"
    assert "no mirror can be reached" in outcome.document["fallback"]
    record = json.loads(Path(outcome.document["run"], "environment.json").read_text())
    assert record["fallback"] == outcome.document["fallback"]


def test_without_mnist_the_fast_preset_trains_on_all_bundled_digits(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cli.data.fetch.fetch", no_mnist)
    words = ["train", "--config", "fast", "--set", "threads=1", "--precision", "fp32", "--json"]
    with pytest.warns(Caution) as warned:
        outcome = run(*words)
    assert "8,960 is more than the bundled digits have" in str(warned.list[-1].message)
    assert (outcome.code, outcome.document["steps"]) == (0, 5)
    recipe = Path(outcome.document["run"], "config.toml")
    assert "train_size = 0\n" in recipe.read_text()
    again = run("train", "--config", recipe, "--dry-run")
    assert (again.code, again.err.count("train_size")) == (0, 0)
    named = run(*words, "--dataset", "digits")
    assert (named.code, named.err.count("exceed the 1415 training images")) == (2, 1)


@pytest.mark.parametrize(
    "words", [["--cuda-graph"], ["--set", "cuda_graph=true"], ["--cuda-graph", "--dry-run"]]
)
def test_an_unavailable_graph_is_refused_before_data_are_read(
    run: Run, tmp_path: Path, words: list[str]
) -> None:
    outcome = run("train", "--dataset", "mnist", "--device", "cpu", *words, "--json")
    assert outcome.code == 2
    assert (
        "a CUDA graph is not available: the device is cpu" in outcome.document["error"]["message"]
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_graph_on_the_cpu_as_ever(run: Run) -> None:
    assert run(*TINY, "--no-cuda-graph", "--epochs", 1, "--quiet").code == 0
    assert run("train", "--resume", "runs/0001-digits-conv2", "--set", "cuda_graph=auto").code == 0


@pytest.mark.parametrize("runs", ["file", "file/below"])
def test_runs_that_cannot_be_written_stop_before_data_are_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, runs: str
) -> None:
    Path("file").touch()
    monkeypatch.setattr("mnist_cli.training.run.load", no_mnist)
    outcome = run(*TINY, "--runs", runs)
    assert outcome.code == 5
    assert outcome.err.startswith(f"error: cannot write into {runs}")


def test_tensorboard_events_are_written(run: Run) -> None:
    pytest.importorskip("tensorboard")
    assert run(*TINY, "--epochs", 1, "--tensorboard").code == 0
    assert list(Path("runs/0001-digits-conv2/tensorboard").iterdir())


def test_resume_refuses_what_would_change_the_meaning(run: Run, trained: Path) -> None:
    for flags in (["--lr", 0.1], ["--seed", 5], ["--model", "conv4"], ["--set", "batch_size=8"]):
        outcome = run("train", "--resume", trained, *flags)
        assert outcome.code == 2
        assert outcome.err.startswith(f"error: {flags[0]}")
    assert run("train", "--resume", "nothing").code == 4


def test_a_run_without_last_pt_names_its_best_checkpoint(run: Run, trained: Path) -> None:
    copy = shutil.copytree(trained, Path("0001-copy"))
    (copy / "last.pt").unlink()
    outcome = run("train", "--resume", copy)
    assert outcome.code == 4
    assert outcome.err.endswith(f"Name its best checkpoint: {copy}/best.pt\n")
    assert run("train", "--resume", copy / "best.pt").code == 0


def test_a_run_starts_from_another_ones_weights(run: Run, trained: Path) -> None:
    """The network is the checkpoint's, not the recipe's; what it starts with is said."""
    outcome = run(*TINY, "-s", "model=conv4", "--from", trained, "--dry-run")
    assert outcome.code == 4
    assert "holds the network 'conv2', not 'conv4'\nOmit the network" in outcome.err
    Path("mine.toml").write_text(f'dataset = "digits"\nmodel = "conv4"\nstart = "{trained}"\n')
    outcome = run("train", "--config", "mine.toml", "--epochs", 1, "-s", "train_size=64")
    assert outcome.code == 0, outcome.err
    assert f"starting from the weights of {trained / 'best.pt'}" in outcome.err
    assert "before training: validation loss " in outcome.err
    config = tomllib.loads(Path("runs/0001-digits-conv2/config.toml").read_text())
    assert (config["model"], config["start"]) == ("conv2", str(trained / "best.pt"))
    environment = json.loads(Path("runs/0001-digits-conv2/environment.json").read_text())
    assert environment["start"] == str(trained / "best.pt")


def test_more_workers_than_cores_are_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one core and on 64."""
    words = (*TINY, "--epochs", 1, "--loader", "dataloader", "--workers", 2)
    warned = {}
    for cores in (1, 64):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False
        )
        outcome = run(*words)
        assert outcome.code == 0
        warned[cores] = "workers = 2 is more than the 1 CPU core available" in outcome.err
        assert "UserWarning" not in outcome.err
    assert warned == {1: True, 64: False}
