"""The normalisation of another program's network in every command, and of an own network's class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import NET, network_file
from PIL import Image
from program import TINY, Run
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue
from mnist_cli.autograd import load
from mnist_cli.checkpoints.checkpoint import read
from mnist_cli.data import store
from mnist_cli.data.split import Normalisation
from mnist_cli.exporting.formats import FORMATS
from mnist_cli.gradients.comparison import setting_differences
from mnist_cli.inference import exports
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks import registry as models
from mnist_cli.vision.digits import Digit, prepare

SPEC = catalogue.get("digits")
ON_DIGITS = ("--dataset", "digits")
PAIRS = {
    None: (SPEC.mean, SPEC.std),
    "mnist": (0.1307, 0.3081),
    "none": (0.0, 1.0),
    "half": (0.5, 0.5),
    "0.2,0.4": (0.2, 0.4),
}


@pytest.fixture
def foreign() -> str:
    """Another program's state_dict: what is in it does not matter here."""
    torch.manual_seed(0)
    torch.save(models.build("notebook").state_dict(), "foreign.pt")
    return "foreign.pt"


def bar() -> None:
    """A picture of a 1."""
    Image.fromarray(np.pad(np.full((20, 6), 255, np.uint8), ((4, 4), (11, 11)))).save("one.png")


def digits() -> tuple[Tensor, Tensor]:
    arrays = store.read(SPEC, "test", Path("nowhere"))
    images = torch.as_tensor(arrays.images).unsqueeze(1).float() / 255
    return images, torch.as_tensor(arrays.labels).long()


@torch.no_grad()
def plain_scores(path: str, images: Tensor, mean: float, std: float) -> Tensor:
    """By plain torch and torchvision, of images (N, 1, 28, 28) as fractions of 1."""
    network = models.build("notebook").eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    scores: Tensor = network(normalize(images, [mean], [std]))
    return scores


@pytest.mark.parametrize("asked", PAIRS)
def test_eval_uses_it_and_says_so(run: Run, foreign: str, asked: str | None) -> None:
    spelling = "--normalize" if asked == "half" else "--normalise"
    options = [] if asked is None else [spelling, asked]
    outcome = run("eval", foreign, *ON_DIGITS, *options, "--json")
    images, labels = digits()
    mean, std = PAIRS[asked]
    expected = plain_scores(foreign, images, mean, std)
    document = outcome.document
    assert document["accuracy"] == (expected.argmax(1) == labels).double().mean().item()
    assert document["loss"] == pytest.approx(functional.nll_loss(expected, labels).item(), 1e-4)
    why = f"from {SPEC.title}, since the file states none" if asked is None else "as asked"
    assert document["normalisation"] == {"mean": mean, "std": std, "reason": why}
    assert document["precision"] == "fp32"


def test_every_command_names_it(run: Run, foreign: str) -> None:
    """In one line on stderr, which --quiet omits; also beside the documents of ``predict``."""
    bar()
    line = "another program's weights: images are normalised with mean 0.1307 and standard deviation 0.3081"
    commands: list[tuple[str, ...]] = [
        ("predict", "one.png", "--checkpoint", foreign),
        ("predict", "one.png", "--checkpoint", foreign, "--json"),
        ("predict", "one.png", "--checkpoint", foreign, "--csv"),
        ("export", foreign, "--out", "weights.safetensors"),
        ("eval", foreign, *ON_DIGITS, "--normalise", "mnist"),
        ("inspect-grad", foreign, *ON_DIGITS, "--normalise", "mnist", "--batch-size", "2"),
        ("plot", foreign, *ON_DIGITS, "--normalise", "mnist", "--only", "saliency", "-f", "svg"),
    ]
    for command in commands:
        outcome = run(*command)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count(line) == 1, command
    assert line not in run(*commands[0], "--quiet").err


def test_predict_and_export_use_it(run: Run, foreign: str) -> None:
    bar()
    (digit,) = prepare(["one.png"], segment=False, as_it_is=False)
    assert isinstance(digit, Digit)
    image = torch.as_tensor(digit.form).view(1, 1, 28, 28)
    expected = plain_scores(foreign, image / 255, 0.5, 0.5).softmax(1)[0].tolist()
    said = run("predict", "one.png", "-k", foreign, "--normalise", "half", "--json").document
    assert said[0]["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert said[0]["normalisation"] == {"mean": 0.5, "std": 0.5, "reason": "as asked"}
    options = ["--normalise", "half", "--out", "half.safetensors"]
    metadata = run("export", foreign, *options, "--json").document["metadata"]
    assert (metadata["mean"], metadata["std"]) == ("0.5", "0.5")


def test_the_exported_program_normalises_so(foreign: str) -> None:
    opened = OpenCheckpoint(
        read(Path(foreign)), torch.device("cpu"), normalised=Normalisation(0.5, 0.5)
    )
    exported = exports.make(opened, FORMATS["safetensors"])
    image = torch.arange(784, dtype=torch.uint8).view(1, 1, 28, 28)
    expected = plain_scores(foreign, image / 255, 0.5, 0.5).softmax(1)
    torch.testing.assert_close(exported.answer(image), expected)


def test_weights_that_this_program_exported_state_theirs(run: Run, trained: Path) -> None:
    assert run("export", trained, "--out", "run.safetensors").code == 0
    document = run("eval", "run.safetensors", *ON_DIGITS, "--json").document
    stated = {"mean": SPEC.mean, "std": SPEC.std, "reason": "as the file's metadata state"}
    assert (document["normalisation"], document["misfit"]) == (stated, None)
    summary = json.loads((trained / "summary.json").read_text())
    assert document["accuracy"] == summary["test"]["accuracy"]
    bar()
    said = run("predict", "one.png", "-k", "run.safetensors").err  # no data set is named here
    assert (
        f"mean {SPEC.mean} and standard deviation {SPEC.std} (as the file's metadata state)" in said
    )


def test_an_export_that_is_verified_uses_the_data_set_of_the_proof(run: Run, foreign: str) -> None:
    """As ``mnist eval`` on that data set does, so that both give the same accuracy."""
    options = ["--verify", *ON_DIGITS, "--out", "weights.safetensors", "--json"]
    exported = run("export", foreign, *options).document
    assert float(exported["metadata"]["mean"]) == SPEC.mean
    evaluated = run("eval", foreign, *ON_DIGITS, "--json").document
    assert exported["verify"]["accuracy"] == evaluated["accuracy"]


def test_inspect_grad_uses_it_and_dumps_name_it(run: Run, foreign: str, trained: Path) -> None:
    command = ("inspect-grad", foreign, *ON_DIGITS, "--indices", "3,4", "--eval", "--quiet")
    graphs = []
    for asked in ("half", "none"):
        assert run(*command, "--normalise", asked, "-f", "json", "--out", asked).code == 0
        graphs.append(load(Path(asked, "graph.json")))
    train = store.read(SPEC, "train", Path("nowhere"))
    images = torch.as_tensor(train.images[3:5]).unsqueeze(1) / 255
    scores = plain_scores(foreign, images, 0.5, 0.5)
    loss = functional.nll_loss(scores, torch.as_tensor(train.labels[3:5]).long())
    assert graphs[0].context["loss"] == pytest.approx(loss.item(), 1e-5)
    assert graphs[0].context["normalisation"] == {"mean": 0.5, "std": 0.5}
    differences = setting_differences(*graphs)
    assert differences == ("normalisation: mean 0.5, std 0.5 and mean 0.0, std 1.0",)
    run("inspect-grad", trained, "--batch-size", "2", "-f", "json", "--out", "own", "--quiet")
    assert "normalisation" not in json.loads(Path("own", "graph.json").read_text())


def test_a_run_of_this_program_knows_its_own(run: Run, trained: Path) -> None:
    known = run("eval", trained, "--json")
    reason = {"mean": SPEC.mean, "std": SPEC.std, "reason": "as in training"}
    assert known.document["normalisation"] == reason
    assert "normalised" not in known.err
    other = run("eval", trained, "--normalise", "none", "--json")
    assert other.document["normalisation"]["mean"] == 0
    assert other.document["loss"] != known.document["loss"]
    assert (
        "with mean 0 and standard deviation 1 (ToTensor alone), as asked, instead of" in other.err
    )
    same = run("eval", trained, "--normalise", f"{SPEC.mean},{SPEC.std}", "--json")
    assert same.document["loss"] == known.document["loss"]
    assert "instead of" not in same.err


def test_plots_of_weights_alone_need_no_normalisation(run: Run, foreign: str) -> None:
    """Nor a data set, which may not be on disk."""
    options = ["--only", "filters", "-f", "svg", "--data-dir", "nowhere", "--dataset", "mnist"]
    outcome = run("plot", foreign, *options)
    assert outcome.code == 0
    assert "normalised" not in outcome.err
    assert run("plot", foreign, *options, "--json").document["normalisation"] is None


def test_plots_that_need_no_network_do_not_use_it(run: Run, trained: Path) -> None:
    options = ["--only", "curves", "-f", "svg", "--out", "plots", "--normalise", "none"]
    assert "--normalise: not used" in run("plot", trained, *options).err


# --- what eval says of a network that expects something else

BIASED = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(784, 10)

    def forward(self, images):
        return self.out((images.flatten(1) / 0.1).tanh())
"""


def test_eval_names_the_words_to_type(run: Run) -> None:
    """A network with hard edges at one grey level, fitted to ToTensor alone."""
    train = store.read(SPEC, "train", Path("nowhere"))
    x = (torch.as_tensor(train.images).flatten(1).double() / 255 / 0.1).tanh()
    x = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    y = functional.one_hot(torch.as_tensor(train.labels).long(), 10).double()
    fit = torch.linalg.solve(x.T @ x + 10 * torch.eye(785).double(), x.T @ y).T.float()
    torch.save({"out.weight": fit[:, :-1].clone(), "out.bias": fit[:, -1].clone()}, "fit.pt")
    network_file(Path("net.py"), BIASED)
    command = ("eval", "fit.pt", "--model", "net.py:Net", *ON_DIGITS)
    outcome = run(*command, "--json")
    found = outcome.document["misfit"]
    assert (found["kind"], found["normalise"], found["images"]) == ("normalisation", "none", 500)
    assert found["message"] in outcome.err
    assert f"but {found['better']:.1%} with --normalise none" in found["message"]
    better = run(*command, "--normalise", "none", "--json")
    assert better.document["accuracy"] > outcome.document["accuracy"] + 0.05
    assert better.document["misfit"] is None


def test_eval_says_that_weights_at_chance_are_of_other_data(run: Run, foreign: str) -> None:
    outcome = run("eval", foreign, *ON_DIGITS, "--quiet")
    assert "seem to be for another data set than" in outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("accuracy ")


# --- an own network that states its normalisation

STATED = NET.replace(
    "class Net(nn.Module):\n", "class Net(nn.Module):\n    normalisation = 'half'\n"
)


def test_an_own_network_gets_what_its_class_states(run: Run) -> None:
    """In training and afterwards; the checkpoint records it."""
    network_file(Path("net.py"), STATED)
    trained = run(*TINY, "--model", "net.py:Net")
    assert (
        "normalised with mean 0.5 and standard deviation 0.5, as net.py:Net states" in trained.err
    )
    path = next(Path("runs").glob("*/best.pt"))
    document = torch.load(path, weights_only=True)
    assert (document["data"]["mean"], document["data"]["std"]) == (0.5, 0.5)
    assert document["data"]["brightness"] == SPEC.mean
    weights = document["model"]["weights"]
    images, labels = digits()
    x = normalize(images, [0.5], [0.5]).flatten(1)
    hidden = (x @ weights["fc1.weight"].T + weights["fc1.bias"]).relu()
    scores = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    summary = json.loads((path.parent / "summary.json").read_text())
    assert summary["test"]["accuracy"] == (scores.argmax(1) == labels).double().mean().item()
    evaluated = run("eval", path, "--model", "net.py:Net", "--json").document
    assert evaluated["accuracy"] == summary["test"]["accuracy"]
    assert evaluated["normalisation"]["reason"] == "as in training"


def test_bare_weights_of_it_get_it_too(run: Run) -> None:
    network_file(Path("net.py"), STATED)
    torch.manual_seed(0)
    source = {"fc1": torch.nn.Linear(784, 100), "fc2": torch.nn.Linear(100, 10)}
    torch.save(torch.nn.ModuleDict(source).state_dict(), "bare.pt")
    command = ("eval", "bare.pt", "--model", "net.py:Net", *ON_DIGITS, "--json")
    document = run(*command).document
    assert document["normalisation"] == {"mean": 0.5, "std": 0.5, "reason": "as Net states"}
    other = run(*command, "--normalise", "mnist")
    assert "instead of mean 0.5 and standard deviation 0.5, as Net states" in other.err


def test_a_run_that_began_without_it_goes_on_without_it(run: Run) -> None:
    """An older version ignored the attribute: the checkpoint says what the run used."""
    network_file(Path("net.py"), STATED)
    run(*TINY, "--model", "net.py:Net", "--set", "epochs=1", "--quiet")
    path = next(Path("runs").glob("*/last.pt"))
    document = torch.load(path, weights_only=True)
    del document["data"]["brightness"]
    document["data"] |= {"mean": SPEC.mean, "std": SPEC.std}
    document["config"]["epochs"] = 2
    torch.save(document, path)
    assert run("train", "--resume", path, "--model", "net.py:Net", "--quiet").code == 0
    resumed = torch.load(path, weights_only=True)
    assert resumed["position"]["epoch"] == 2
    assert (resumed["data"]["mean"], resumed["data"]["std"]) == (SPEC.mean, SPEC.std)
