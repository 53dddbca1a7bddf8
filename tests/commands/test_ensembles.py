"""``--ensemble N`` from training to evaluation and inspection, as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from program import TINY, Run

from mnist_cli import cli


@pytest.fixture(scope="module")
def voting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three networks that vote, trained once for all tests: they only read it."""
    runs = tmp_path_factory.mktemp("voting")
    words = [*TINY, "--ensemble", "3", "--dump-grad", "last", "--quiet", "--runs", str(runs)]
    assert cli.run(words) == 0
    return runs / "0001-digits-conv2"


def test_the_run_says_what_its_results_are_of(run: Run) -> None:
    outcome = run(*TINY, "--ensemble", 2, "--epochs", 1)
    assert outcome.code == 0
    assert "an ensemble of 2: training metrics are the members' mean" in outcome.err
    assert "trained 2 networks for 1 epoch in" in outcome.out
    summary = json.loads(Path("runs/0001-digits-conv2/summary.json").read_text())
    assert summary["ensemble"] == 2


def test_eval_gives_the_vote_each_member_and_their_mean(run: Run, voting: Path) -> None:
    document = run("eval", voting, "--json").document
    summary = json.loads((voting / "summary.json").read_text())
    assert document["accuracy"] == summary["test"]["accuracy"]
    accuracies = [member["accuracy"] for member in document["members"]]
    assert len(accuracies) == 3
    assert document["mean_member_accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert len(set(accuracies)) > 1
    report = run("eval", voting)
    assert "an ensemble of 3 conv2 networks" in report.err
    assert "the vote of 3 members" in report.out
    assert all(f"{accuracy:.4f}" in report.out for accuracy in accuracies)


def test_one_network_has_no_members(run: Run, trained: Path) -> None:
    assert "members" not in run("eval", trained, "--json").document
    assert "member" not in run("eval", trained).out


def test_the_gradient_is_inspected_of_the_first_member(run: Run, voting: Path) -> None:
    outcome = run("inspect-grad", voting, "--replay", "--out", "dump")
    assert outcome.code == 0
    assert "an ensemble of 3 networks: this is the first of them" in outcome.err
    shown = json.loads(Path("dump/graph.json").read_text())
    shapes = {row["name"]: row["grad"]["shape"] for row in shown["parameters"]}
    assert shapes["conv1.weight"] == [24, 1, 5, 5]
    during = json.loads(next((voting / "grad").iterdir()).read_text())
    assert [row["name"] for row in during["parameters"]] == list(shapes)


def test_a_resumed_run_keeps_its_number_of_members(run: Run, voting: Path) -> None:
    outcome = run("train", "--resume", voting, "--ensemble", 2)
    assert outcome.code == 2
    assert "--ensemble: a resumed run keeps ensemble = 3" in outcome.err


def test_outputs_of_any_member_that_are_not_finite_are_an_error(run: Run, voting: Path) -> None:
    document = torch.load(voting / "last.pt", weights_only=True)
    document["model"]["weights"]["members.fc2.bias"][2] = 3e38
    document["model"]["weights"]["members.fc2.weight"][2] = 3e38
    torch.save(document, "huge.pt")
    outcome = run("eval", "huge.pt")
    assert outcome.code == 6
    assert "outputs for 382 of 382 images are not finite" in outcome.err
