"""``mnist model``: which network it shows, in the table and in the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from program import TINY, Run
from torch.utils.flop_counter import FlopCounterMode

from mnist_cli.networks import registry as models


def torch_count(name: str, batch: int) -> int:
    model = models.build(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(batch, 1, 28, 28))
    return counter.get_total_flops() // 2


def test_the_default_network_where_there_is_no_run(run: Run) -> None:
    outcome = run("model")
    assert outcome.code == 0
    assert outcome.err == "no run under runs/: conv4, the default network\n"
    lines = outcome.out.splitlines()
    assert lines[0].split() == [
        *("#", "layer", "operation", "input", "output"),
        *("trained", "statistics", "multiply-adds", "memory"),
    ]
    assert lines[1].split()[:6] == ["1", "conv1", "convolution", "5×5", "1×28×28", "32×24×24"]
    assert f"{torch_count('conv4', 1):,} multiply-adds" in lines[-1]
    assert "120,554 trained, 516 running statistics" in lines[-2]


def test_the_newest_run_where_there_is_one(run: Run, trained: Path) -> None:
    outcome = run("model", "--runs", trained.parent)
    assert outcome.err == f"{trained / 'best.pt'}: conv2\n"
    document = run("model", "--runs", trained.parent, "--json").document
    assert (document["model"], document["checkpoint"]) == ("conv2", str(trained / "best.pt"))
    assert document["totals"]["multiply_adds"] == torch_count("conv2", 1)


@pytest.mark.parametrize("named", ["{run}", "{run}/last.pt", "1", "0001-digits-conv2"])
def test_a_checkpoint_shows_its_network(run: Run, trained: Path, named: str) -> None:
    outcome = run("model", named.format(run=trained), "--runs", trained.parent, "--json")
    assert outcome.document["model"] == "conv2"
    by_name = run("model", "conv2", "--json").document
    assert outcome.document["steps"] == by_name["steps"]


@pytest.mark.parametrize("words", [["oriented"], ["--model", "oriented"]])
def test_a_network_by_its_name(run: Run, words: list[str]) -> None:
    outcome = run("model", *words, "--classes", 47, "-b", 64)
    assert outcome.code == 0
    assert "the network oriented, with fresh weights" in outcome.err
    assert "to 47 classes, " in outcome.out
    assert "400 fixed" in outcome.out
    assert "for 64 images" in outcome.out
    bank = next(line for line in outcome.out.splitlines() if " bank " in line)
    assert " 400 " in bank
    assert "maximum of #3, #4" in outcome.out


def test_the_document(run: Run) -> None:
    document = run("model", "conv2x0.5", "--batch-size", 2, "--json").document
    assert document["images"] == [2, 1, 28, 28]
    assert document["totals"]["multiply_adds"] == torch_count("conv2x0.5", 2)
    assert document["steps"][0] == {
        "number": 1,
        "module": "conv1",
        "operation": "convolution 5×5",
        "sources": [0],
        "inputs": [[2, 1, 28, 28]],
        "outputs": [[2, 12, 24, 24]],
        "weights": {"trained": 12 * 26, "fixed": 0, "statistics": 0},
        "multiply_adds": 2 * 12 * 24 * 24 * 25,
        "bytes": 2 * 12 * 24 * 24 * 4,
    }
    assert document["unused"] == {}


def test_of_an_ensemble_one_network_is_shown(run: Run) -> None:
    assert run(*TINY, "--ensemble", 3, "--epochs", 1).code == 0
    outcome = run("model")
    assert "the first of 3 networks that vote: conv2" in outcome.err
    assert "an ensemble of 3 such networks: multiply these numbers by 3" in outcome.out
    document = run("model", "--json").document
    assert document["members"] == 3
    assert document["totals"]["trained"] == sum(
        p.numel() for p in models.build("conv2").parameters()
    )


def test_quiet_prints_the_totals_alone(run: Run) -> None:
    outcome = run("model", "notebook", "--quiet")
    assert outcome.err == ""
    assert len(outcome.out.splitlines()) == 2


def test_a_narrow_terminal_has_no_inputs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    heads, shown = {}, ""
    for width in ("160", "80", "40"):
        monkeypatch.setenv("COLUMNS", width)
        shown = re.sub(r"\x1b\[\d+m", "", run("model", "conv4").out)
        heads[width] = shown.splitlines()[0].split()
    assert heads["40"] == ["#", "layer", "operation", "trained"]  # and no word is cut
    assert "…" not in shown
    assert heads["80"] == [
        "#",
        "layer",
        "operation",
        "output",
        *heads["160"][5:6],
        *heads["160"][7:],
    ]
    assert heads["160"][4:7] == ["output", "trained", "statistics"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["conv5"], 2, "no such network, checkpoint or run: 'conv5'\nDid you mean 'conv4'?"),
        (["conv2x99"], 2, "no such network, checkpoint or run: 'conv2x99'"),
        (["12"], 2, "no such network, checkpoint or run: '12'"),
        (["runs/0001"], 4, "no checkpoint or run runs/0001"),
        (["lost.pt"], 4, "no checkpoint or run lost.pt"),
        (["text.pt"], 4, "text.pt is refused: it is text, not a checkpoint"),
        (["net.pt", "--classes", "3"], 2, "--classes applies only to a network given by its name"),
        (["conv4", "--model", "conv2"], 2, "contradict each other"),
        (["--model", "vgg"], 2, "unknown model 'vgg'"),
        (["conv4", "--classes", "0"], 2, "--classes: should be a whole number from 1 to 1,000"),
        (["conv4", "-b", "99999"], 2, "--batch-size: should be a whole number from 1 to 4,096"),
    ],
)
def test_what_is_refused(run: Run, words: list[str], code: int, said: str) -> None:
    Path("text.pt").write_text("not a checkpoint")
    torch.save(models.build("notebook").state_dict(), "net.pt")
    outcome = run("model", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
