"""What another program's network seems to expect: its normalisation, polarity, order of classes.

The networks are fitted here, in closed form, to images that were prepared otherwise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import network_file
from torch import Tensor

from mnist_cli import catalogue
from mnist_cli.catalogue.spec import DatasetSpec
from mnist_cli.checkpoints.checkpoint import read
from mnist_cli.data import store
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import DataError
from mnist_cli.inference import misfit
from mnist_cli.inference.misfit import Misfit, find_misfit
from mnist_cli.inference.opened import DataSource, OpenCheckpoint
from mnist_cli.networks import registry as models

RIDGE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.hidden = nn.Linear(784, 300)
        self.out = nn.Linear(300, classes)

    def forward(self, images):
        return self.out(self.hidden(images.flatten(1)).tanh())
"""
NOWHERE = Path("nowhere")
DIGITS = catalogue.get("digits")


def opened(folder: Path, weights: dict[str, Tensor], source: str = RIDGE) -> OpenCheckpoint:
    """Another program's state_dict of an own network, opened on the digits."""
    net = network_file(folder / "net.py", source)
    torch.save(weights, folder / "weights.pt")
    checkpoint = read(folder / "weights.pt", f"{net}:Net")
    return OpenCheckpoint(checkpoint, torch.device("cpu"), "fp32", DataSource(NOWHERE, "digits"))


def fitted(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Weights of the network for images (N, 28, 28) as it gets them: random, then a ridge regression."""
    generator = torch.Generator().manual_seed(0)
    unit = 0.1 / images.std()
    first = unit * torch.randn(300, 784, generator=generator)
    bias = torch.randn(300, generator=generator) - first @ images.mean(0).flatten()
    weight, out_bias = ridge((images.flatten(1) @ first.T + bias).tanh(), labels)
    out = {"out.weight": weight, "out.bias": out_bias}
    return {"hidden.weight": first, "hidden.bias": bias, **out}


def ridge(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer that is fitted to the classes of the units (N, D)."""
    x = torch.cat([hidden.double(), torch.ones(len(hidden), 1).double()], 1)
    y = torch.nn.functional.one_hot(labels, 10).double()
    penalty = 0.1 * torch.eye(x.shape[1]).double()
    solution = torch.linalg.solve(x.T @ x + penalty, x.T @ y).T.float()
    return solution[:, :-1].contiguous(), solution[:, -1].clone()


def digits() -> tuple[Tensor, Tensor]:
    """The training digits as fractions of 1, and their labels."""
    arrays = store.read(DIGITS, "train", NOWHERE)
    return torch.tensor(arrays.images) / 255, torch.tensor(arrays.labels).long()


def scaled(images: Tensor, mean: float, std: float) -> Tensor:
    return (images - mean) / std


IMAGES, LABELS = digits()
OWN = scaled(IMAGES, DIGITS.mean, DIGITS.std)
TURNED = (LABELS + 9) % 10
"""The label of each digit in a program whose first class is 1."""
SWAPPED = LABELS.where(~torch.isin(LABELS, torch.tensor([3, 5])), 8 - LABELS)
"""3 and 5 changed places."""


@pytest.mark.parametrize(
    ("images", "labels", "kind", "normalise"),
    [
        (scaled(IMAGES, 0.0, 1.0), LABELS, "normalisation", "none"),
        (scaled(IMAGES, 0.5, 0.5), LABELS, "normalisation", "half"),
        (255 * IMAGES, LABELS, "normalisation", "0,0.00392157"),
        (scaled(1 - IMAGES, DIGITS.mean, DIGITS.std), LABELS, "inverted", None),
        (1 - IMAGES, LABELS, "inverted", "none"),
        (OWN.mT, LABELS, "transposed", None),
        (OWN, TURNED, "labels", None),
        (scaled(IMAGES, 0.5, 0.5), TURNED, "labels", "half"),
        (OWN, SWAPPED, "labels", None),
        (OWN, LABELS[torch.randperm(len(LABELS))], "other data", None),
        (OWN, LABELS, None, None),
    ],
)
def test_what_a_network_was_trained_on_is_found(
    tmp_path: Path, images: Tensor, labels: Tensor, kind: str | None, normalise: str | None
) -> None:
    network = opened(tmp_path, fitted(images, labels))
    accuracy = network.scorer.evaluate(network.split("test"), network.classes).score.accuracy
    found = find_misfit(network, accuracy)
    if kind is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.normalise, found.images) == (kind, normalise, 500)
    if kind == "labels":
        assert found.order in ((1, 2, 3, 4, 5, 6, 7, 8, 9, 0), (0, 1, 2, 5, 4, 3, 6, 7, 8, 9))
    if kind == "other data":
        assert found.better is None
        assert found.accuracy < 0.3
    else:
        assert found.better is not None
        assert found.better > max(0.9, found.accuracy + 0.05)


@pytest.mark.parametrize("name", ["example", "example-2019"])
def test_a_network_with_weights_of_the_same_names_and_shapes_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Random layers; the last one is fitted to what this network makes of the images."""
    monkeypatch.setattr(misfit, "FEW", 120)
    torch.manual_seed(0)
    network, hidden = models.build(name).eval(), []
    network.get_submodule("fc2").register_forward_pre_hook(lambda _, inputs: hidden.append(*inputs))
    with torch.no_grad():
        network(OWN[:600, None])
    weight, bias = ridge(hidden[0], LABELS[:600])
    torch.save({**network.state_dict(), "fc2.weight": weight, "fc2.bias": bias}, tmp_path / "w.pt")
    checkpoint = read(tmp_path / "w.pt")
    data = DataSource(NOWHERE, "digits")
    found = find_misfit(OpenCheckpoint(checkpoint, torch.device("cpu"), "fp32", data), 0.5)
    assert checkpoint.model == "example"
    if name == "example":
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.network, found.normalise) == ("network", "example-2019", None)
    assert found.better is not None
    assert found.better > found.accuracy + 0.05


# --- two classes by one pixel, of which some levels are told apart only with the right scale

PIXEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        light = images[:, 0, 0, 0:1]
        return torch.cat([self.threshold - light, light - self.threshold], 1)
"""


def made_up(wrong: float, count: int = 6000) -> LoadedData:
    """Images at 0 of class 0, at 0.7 of class 1; ``wrong`` of them at 0.4, of class 0.

    A network with the threshold 0.5 that expects ToTensor alone tells them all. MNIST's mean and
    deviation make 0.87 of 0.4, above the threshold; 0.5 and 0.5 make 0.41 of 0.7, below it.
    """
    labels = np.arange(count) % 2
    levels = np.where(labels == 1, 180, 0)
    levels[np.floor(np.arange(count) * wrong) != np.floor((np.arange(count) + 1) * wrong)] = 102
    labels[levels == 102] = 0
    images = np.repeat(levels.astype(np.uint8), 784).reshape(count, 28, 28)
    split = Split.of("train", images, labels)
    spec = DatasetSpec("two", "Two", ("dark", "light"), count, count, 0.1307, 0.3081)
    return LoadedData(spec, lambda: split, split)


@pytest.mark.parametrize(
    ("wrong", "images"), [(0.08, 500), (0.012, 3000), (0.006, 3000), (0.001, None)]
)
def test_a_small_difference_is_confirmed_on_more_images(
    tmp_path: Path, wrong: float, images: int | None
) -> None:
    network = opened(tmp_path, {"threshold": torch.tensor([0.5])}, PIXEL)
    vars(network)["data"] = made_up(wrong)
    found = find_misfit(network, 1 - wrong)
    assert (found and found.images) == images
    if found is not None:
        assert (found.normalise, found.better) == ("none", 1.0)
        assert found.accuracy == pytest.approx(1 - wrong, abs=0.02)


def result(right: int, wrong: int, *, later: bool = False) -> misfit._Result:
    """Answers of which the first, or the last, ``wrong`` are wrong."""
    answers = torch.zeros(right + wrong, dtype=torch.int64)
    answers[right:] = 1
    answers = answers if later else answers.flip(0)
    scores = torch.nn.functional.one_hot(answers, 2).double()
    return misfit._Result(scores, torch.zeros(right + wrong, dtype=torch.int64))


@pytest.mark.parametrize(
    ("before", "after", "errors", "better"),
    [
        (result(84, 16), result(100, 0), 4, True),  # 16 gained: 16 / sqrt(16) = 4
        (result(85, 15), result(100, 0), 4, False),  # 15 / sqrt(15) = 3.9
        (result(90, 10), result(94, 6, later=True), 2, False),  # 10 - 6 = 4 = sqrt(16)
        (result(50, 50), result(80, 20, later=True), 3, True),  # 50 - 20 = 30 > 3 sqrt(70)
        (result(100, 0), result(100, 0), 2, False),
        (result(100, 0), result(80, 20), 2, False),
        (result(1995, 5), result(2000, 0), 2, False),  # 0.25 points
        (result(1994, 6), result(2000, 0), 2, True),  # 0.3 points, and 6 / sqrt(6) = 2.4
    ],
)
def test_when_paired_answers_count_as_better(
    before: misfit._Result, after: misfit._Result, errors: float, better: bool
) -> None:
    assert misfit._is_better(before, after, errors) is better


# --- when nothing is tried


def expecting_none(folder: Path, source: str = RIDGE) -> OpenCheckpoint:
    return opened(folder, fitted(IMAGES, LABELS), source)


def test_nothing_is_tried_if_the_normalisation_was_asked_for(tmp_path: Path) -> None:
    network = expecting_none(tmp_path)
    asked = OpenCheckpoint(
        *(network.checkpoint, network.device, "fp32", network.source), Normalisation(0.5, 0.5)
    )
    assert find_misfit(asked, accuracy=0.8) is None
    found = find_misfit(asked, accuracy=0.1)  # at chance it is
    assert isinstance(found, Misfit)
    assert found.normalise == "none"


def test_nothing_is_tried_if_the_class_states_it(tmp_path: Path) -> None:
    stated = RIDGE.replace("    def __init__", "    normalisation = (0.5, 0.5)\n\n    def __init__")
    network = expecting_none(tmp_path, stated)
    assert network.normalisation == Normalisation(0.5, 0.5)
    assert find_misfit(network, accuracy=0.8) is None


def test_nothing_is_tried_on_data_that_replace_mnist(tmp_path: Path) -> None:
    network = expecting_none(tmp_path)
    data = network.data
    vars(network)["data"] = LoadedData(data.spec, data.read_train, data.test, fallback="no MNIST")
    assert find_misfit(network, accuracy=0.8) is None


def test_damaged_training_images_do_not_fail_the_evaluation(tmp_path: Path) -> None:
    def damaged() -> Split:
        raise DataError("damaged")

    network = expecting_none(tmp_path)
    vars(network)["data"] = LoadedData(DIGITS, damaged, network.data.test)
    assert find_misfit(network, accuracy=0.8) is None
