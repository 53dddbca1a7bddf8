"""The networks: those of others written out again, the registry, and what they are recognised by."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mnist_cli.checkpoints import archive
from mnist_cli.config import choices
from mnist_cli.errors import UsageError
from mnist_cli.networks import registry as models
from mnist_cli.networks.registry import REGISTRY, build, recognise


class OldExampleNet(nn.Module):
    """github.com/pytorch/examples, mnist/main.py as of 2017; the notebook series uses it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, 320)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class ExampleNetOf2018(nn.Module):
    """github.com/pytorch/examples, mnist/main.py from December 2018 to November 2019."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5, 1)
        self.conv2 = nn.Conv2d(20, 50, 5, 1)
        self.fc1 = nn.Linear(4 * 4 * 50, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2, 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2, 2)
        x = x.view(-1, 4 * 4 * 50)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class ExampleNetOf2019(nn.Module):
    """github.com/pytorch/examples, mnist/main.py from November 2019 to March 2020."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout2d(0.25)
        self.dropout2 = nn.Dropout2d(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class NewExampleNet(nn.Module):
    """github.com/pytorch/examples, mnist/main.py as of today."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


ORIGINALS = {
    "notebook": OldExampleNet,
    "example-2018": ExampleNetOf2018,
    "example-2019": ExampleNetOf2019,
    "example": NewExampleNet,
}


@pytest.mark.filterwarnings("ignore:dropout2d")  # of 2019: for the second dropout's 2-D input
@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("training", [False, True])
def test_a_network_of_others_draws_and_computes_what_theirs_does(name: str, training: bool) -> None:
    torch.manual_seed(1)
    theirs = ORIGINALS[name]().train(training)
    torch.manual_seed(1)
    ours = build(name).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor)
    images = torch.randn(6, 1, 28, 28)
    torch.manual_seed(2)  # the dropouts draw alike
    expected = theirs(images)
    torch.manual_seed(2)
    assert torch.equal(ours(images), expected)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("classes", [10, 3])
def test_every_network_maps_images_to_scores(name: str, classes: int) -> None:
    model = build(name, classes).eval()
    scores = model(torch.randn(2, 1, 28, 28))
    assert scores.shape == (2, classes)
    summed = scores.exp().sum(1)
    normal = torch.allclose(summed, torch.ones(2), atol=1e-5)
    assert normal == model.log_probabilities


def test_the_registry_has_the_names_that_the_configuration_knows() -> None:
    assert tuple(REGISTRY) == choices.MODELS


@pytest.mark.parametrize(
    ("name", "thousands"),
    [
        ("example-2018", 431),
        ("example", 1200),
        ("conv2", 215),
        ("oriented", 72),
        ("conv4", 120),
        ("conv4-wide", 462),
    ],
)
def test_parameter_counts_are_those_of_the_docstrings(name: str, thousands: int) -> None:
    count = sum(parameter.numel() for parameter in build(name).parameters())
    assert count == pytest.approx(1000 * thousands, rel=0.006)
    words = type(build(name)).__doc__ or ""
    assert f"{thousands},000" in words or f"{thousands / 1000} million" in words


def test_the_fixed_filters_see_turned_edges_and_lines() -> None:
    """Held against pictures: each filter answers most to the edge or line of its own direction."""
    bank = build("oriented").get_buffer("bank")
    assert bank.shape == (16, 1, 5, 5)
    assert bank.sum((1, 2, 3)).abs().max() < 1e-6
    torch.testing.assert_close(bank.square().sum((1, 2, 3)), torch.full((16,), 0.36))
    centred = torch.arange(5.0) - 2
    x, y = centred.expand(5, 5), centred.expand(5, 5).T
    edges = [(c * x + s * y > 0.5).float() for c, s in _directions(8)]
    lines = [((c * x + s * y).abs() < 0.8).float() for c, s in _directions(8)[:4]]
    pictures = torch.stack([*edges, *lines, *(1 - line for line in lines)])
    answers = torch.einsum("aij,bij->ab", pictures, bank.squeeze(1))
    assert answers[:8, :8].argmax(1).tolist() == list(range(8))
    assert answers[8:, 8:].argmax(1).tolist() == list(range(8))


def _directions(turns: int) -> list[tuple[float, float]]:
    return [(math.cos(math.tau * k / turns), math.sin(math.tau * k / turns)) for k in range(turns)]


@pytest.mark.skipif(
    torch.__version__.startswith("2.10."), reason="torch 2.10 imports SymPy for any meta tensor"
)
def test_expected_weights_import_no_compiler() -> None:
    """Some operations on the meta device import SymPy and more, for a second."""
    code = (
        "import sys\n"
        "from mnist_cli.networks.registry import REGISTRY, expected_weights\n"
        "assert all(expected_weights(name, 10) for name in REGISTRY)\n"
        "sys.exit('sympy' in sys.modules or 'torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_fixed_filters_are_no_parameters_but_let_the_images_gradient_through() -> None:
    model = build("oriented")
    assert "bank" not in dict(model.named_parameters())
    images = torch.randn(2, 1, 28, 28, requires_grad=True)
    model(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad[:, :, 2:-2, 2:-2].abs().sum() > 0
    assert images.grad[:, :, :2].abs().sum() == 0  # the border is left out


STRANGE = ("resnet", "conv2x0", "conv2x9", "conv2x0.1", "conv2x", "conv2xx2", "examplex2", "x2")


@pytest.mark.parametrize("name", [*STRANGE, "conv4-widex2", "conv2x1e0", "conv2x2 ", "conv2x2\n"])
def test_an_unknown_network_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        build(name)
    assert "conv4-wide" in caught.value.hint
    assert "conv2x0.5" in caught.value.hint


ENDS = {
    *(("conv1.weight", 1), ("conv.weight", 1), ("bank", 0), ("bank", 1)),
    *((f"{last}.{kind}", 0) for last in ("fc", "fc2") for kind in ("weight", "bias")),
}
"""Axes that the image, the fixed filters or the classes decide."""


@pytest.mark.parametrize("name", choices.SCALABLE)
@pytest.mark.parametrize("width", ["0.125", "0.5", "1", "1.0", "1.5", "8"])
def test_a_width_multiplies_all_between_the_first_input_and_the_last_output(
    name: str, width: str
) -> None:
    base = models.expected_weights(name, 7)
    scaled = models.expected_weights(f"{name}x{width}", 7)
    assert list(scaled) == list(base)
    for key, was in base.items():
        times = [1.0 if (key, axis) in ENDS else float(width) for axis in (0, 1)]
        expected = [time * size for time, size in zip(times, was.shape, strict=False)]
        assert [*scaled[key].shape[:2]] == expected
        assert scaled[key].shape[2:] == was.shape[2:]


def test_width_1_is_the_network_itself_and_2_the_wide_one() -> None:
    images = torch.randn(2, 1, 28, 28)
    for one, other in [("conv4", "conv4x1"), ("conv4-wide", "conv4x2"), ("conv2", "conv2x1.00")]:
        torch.manual_seed(3)
        expected = build(one).eval()(images)
        torch.manual_seed(3)
        assert torch.equal(build(other).eval()(images), expected)


@pytest.mark.parametrize("name", choices.SCALABLE)
def test_the_widest_network_has_checkpoints_that_may_be_read(name: str) -> None:
    """Weights, Adam's two moments, and the averaged weights."""
    weights = models.expected_weights(f"{name}x{choices.WIDTHS[1]:g}", 100)
    assert 4 * sum(tensor.nbytes for tensor in weights.values()) < archive.MAX_BYTES


# --- recognising


@pytest.mark.parametrize("name", models.RECOGNISED)
@pytest.mark.parametrize("classes", [10, 47, 1])
@pytest.mark.parametrize("order", ["own", "sorted", "shuffled"])
def test_weights_are_recognised_in_any_order(name: str, classes: int, order: str) -> None:
    weights = list(build(name, classes).state_dict().items())
    if order == "sorted":
        weights.sort(key=lambda pair: pair[0])
    elif order == "shuffled":
        random.Random(0).shuffle(weights)
    assert recognise(OrderedDict(weights)) == (name, classes)


@pytest.mark.parametrize(("name", "other"), models.ALIKE.items())
def test_weights_that_two_networks_share_are_those_of_the_usual_one(name: str, other: str) -> None:
    weights = build(other).state_dict()
    assert recognise(weights) == (name, 10)
    assert recognise(weights, [other]) == (other, 10)


def _without(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    weights.pop("conv2.bias")
    return weights


STRANGERS = {
    "nothing": lambda w: {},
    "one missing": _without,
    "one more": lambda w: {**w, "fc3.bias": torch.zeros(3)},
    "a wrong shape": lambda w: {**w, "conv2.weight": torch.zeros(1)},
    "a renamed one": lambda w: {key.replace("fc1", "dense"): v for key, v in w.items()},
    "a scalar bias": lambda w: {**w, "fc2.bias": torch.zeros(())},
    "an empty bias": lambda w: {**w, "fc2.bias": torch.zeros(0)},
    "a huge bias": lambda w: {**w, "fc2.bias": torch.zeros(1).expand(10**12)},
}


@pytest.mark.parametrize("case", STRANGERS)
def test_other_weights_are_not_recognised(case: str) -> None:
    assert recognise(STRANGERS[case](dict(build("conv2").state_dict()))) is None


# --- loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_logits(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 10), torch.randint(10, (7,))
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    ours = models.loss(logits, labels, log_probabilities=False, smoothing=smoothing)
    assert torch.equal(ours, expected)
    of_log = models.loss(
        F.log_softmax(logits, 1), labels, log_probabilities=True, smoothing=smoothing
    )
    torch.testing.assert_close(of_log, expected)
