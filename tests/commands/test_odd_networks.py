"""The commands on networks with unusual parts: what cannot be shown is left out, and said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import odd_networks
import pytest
import torch
from own_files import body, network_file
from program import TINY, Run

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.inference import drawings
from mnist_cli.inference.opened import DataSource, OpenCheckpoint
from mnist_cli.inference.plot_material import NetworkViews, RunCurves
from mnist_cli.report import plot_pictures

ODD = Path(odd_networks.__file__).resolve()
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def opened(name: str, folder: Path) -> OpenCheckpoint:
    """A checkpoint of fresh weights, with the bundled digits."""
    torch.manual_seed(2)
    torch.save(getattr(odd_networks, name)().state_dict(), folder / "weights.pt")
    read = checkpoints.read(folder / "weights.pt", f"{ODD}:{name}")
    return OpenCheckpoint(read, torch.device("cpu"), "fp32", DataSource(folder, "digits"))


@pytest.mark.parametrize("name", odd_networks.NAMES)
def test_each_answers_a_drawing(name: str, tmp_path: Path) -> None:
    left_out = drawings.rehearse(opened(name, tmp_path))
    about = [one.partition(":")[0] for one in left_out]
    saliency = ["saliency"] if name in ("Indices", "Sparse", "Reentrant", "Detached") else []
    none = name in ("Indices", "Sparse", "Products", "Waves", "Recurrent", "Volumes", "Causal")
    assert about == saliency + ["activations"] * (none or name == "Patches")


@pytest.mark.parametrize("name", ["Vit", "Maxout", "Convolutional", "Detached"])
def test_activations_are_drawn(name: str, tmp_path: Path) -> None:
    views = NetworkViews(opened(name, tmp_path))
    curves = RunCurves(tmp_path / "weights.pt", whole=False)
    outcome = plot_pictures.draw(
        *(curves, views, ["activations"]), required=True, folder=tmp_path, endings=["svg"]
    )
    assert outcome.drawn["activations"][0].is_file()


def test_what_fails_in_no_foreseen_way_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("no such axis")

    monkeypatch.setitem(plot_pictures.OF_NETWORK, "activations", fail)
    views = NetworkViews(opened("Vit", tmp_path))
    curves = RunCurves(tmp_path / "weights.pt", whole=False)
    asked = (curves, views, ["activations"])
    outcome = plot_pictures.draw(*asked, required=False, folder=tmp_path, endings=["png"])
    assert "IndexError: no such axis" in outcome.left_out["activations"]


def test_pixels_that_become_indices(run: Run) -> None:
    """Four plots are drawn, three are left out with their reasons; one alone is refused."""
    named = ("--model", f"{ODD}:Indices")
    assert run(*TINY, "--quiet", *named).code == 0
    outcome = run("plot", "--all", *named, "--format", "png", "--json")
    assert outcome.code == 0, outcome.err
    left_out = outcome.document["left_out"]
    assert set(left_out) == {"filters", "saliency", "maximised"}
    assert "they become indices" in left_out["saliency"]
    refused = run("plot", *named, "--only", "saliency")
    assert refused.code == 2
    assert "they become indices" in " ".join(refused.err.split())


def test_a_mask_of_infinities_trains_and_resumes(run: Run) -> None:
    network_file(Path("net.py"), ODD.read_text(encoding="utf-8"))  # nothing else lies beside it
    named = ("--model", "net.py:Causal", "--quiet")
    proof = run(*TINY, *named, "--epochs", 1, "--set", "ema=0.9", "--verify-resume", "--json")
    assert proof.code == 0, proof.err
    assert proof.document["equal"] is True
    trained = run(*TINY, *named, "--epochs", 1, "--json")
    assert trained.code == 0, trained.err
    evaluated = run("eval", *named, "--json")
    assert evaluated.document["accuracy"] == trained.document["test"]["accuracy"]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("net.py:Net", "training would never change self.layers[0].weight"),
        (f"{ODD}:Sparse", "Its gradients are sparse"),
        (f"{ODD}:Checkpointed", "Skip that batch (drop_last = true)"),
    ],
)
def test_what_cannot_train_is_refused(run: Run, model: str, told: str) -> None:
    init = "        self.layers = [nn.Linear(784, 10)]\n"
    network_file(Path("net.py"), body("self.layers[0](x.flatten(1))", init))
    outcome = run(*TINY, "--quiet", "--model", model, "--set", "train_size=193")
    assert outcome.code == 2
    assert told in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


NAMED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("a\\x1b[31mred\\u202e", nn.Conv2d(1, 4, 5, 2))
        self.add_module("[bold]b\\r\\n\\x07", nn.Linear(576, 10))
        self.add_module("unused\\x9b", nn.Linear(2, 2))

    def forward(self, x):
        first, second, _ = self.children()
        return second(first(x).relu().flatten(1))
"""


def test_control_characters_in_names_never_reach_the_terminal(run: Run) -> None:
    network_file(Path("net.py"), NAMED)
    named = ("--model", "net.py:Net")
    outcomes = [
        run(*TINY, *named, "--epochs", 1),
        run("model", "1", *named),
        run("inspect-grad", *named, "--replay"),
        run("inspect-grad", *named, "--step"),
        run("plot", *named, "--only", "ratios,activations", "--format", "svg"),
    ]
    for outcome in outcomes:
        assert outcome.code == 0, outcome.err
        assert not CONTROLS.search(outcome.out + outcome.err)
    assert r"a\x1b[31mred" in outcomes[1].out
    shutil.copy(Path("runs") / "0001-digits-Net" / "best.pt", "other.pt")
    network_file(
        Path("narrow.py"),
        NAMED.replace("nn.Conv2d(1, 4, 5, 2)", "nn.Conv2d(1, 4, 5, 2, bias=False)"),
    )
    network_file(Path("fails.py"), body("{}['\\x1b[31m']"))
    for words in (("eval", "other.pt", "--model", "narrow.py:Net"), ("model", "fails.py:Net")):
        refused = run(*words)
        assert refused.code in (2, 4)
        assert not CONTROLS.search(refused.err)
    assert r"\x1b[31m" in refused.err
