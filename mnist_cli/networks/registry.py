"""The networks and their registry.

Every network maps images (N, 1, 28, 28), float and normalised, to scores (N, classes). Networks
with ``log_probabilities = True`` end in a log-softmax, as their originals do; their loss is the
negative log-likelihood. The loss of the others is the cross-entropy. Networks with
``divisible = True`` draw no random numbers in training, so that two threads can compute the halves
of a batch.

This module knows nothing about data or training. :mod:`mnist_cli.networks.own_network` builds
networks from the user's own files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli.config.choices import unknown_model, width_of
from mnist_cli.config.names import ModelName
from mnist_cli.errors import UsageError
from mnist_cli.networks.examples import Example, Example2018, Example2019, Notebook


class Conv2(nn.Module):
    """A small network: two convolutions and two linear layers, 215,000 parameters.

    5×5 to 24 channels, ReLU, pool; 3×3 to 32, ReLU, pool; 800 to 256, ReLU; 10. Without
    dropout or batch norm, since neither helps in an epoch or two. ``width`` multiplies the
    channels and units between the image and the classes.

    Source: the shape published in github.com/tuomaso/train_mnist_fast, rewritten.
    """

    log_probabilities = False
    divisible = True

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        first, second, hidden = (round(width * channels) for channels in (24, 32, 256))
        self.conv1 = nn.Conv2d(1, first, kernel_size=5)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3)
        self.fc1 = nn.Linear(25 * second, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, classes)."""
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        out: Tensor = self.fc2(x)
        return out


class Oriented(nn.Module):
    """Our fast network: fixed oriented filters, one convolution, two linear layers, 72,000 parameters.

    Crops a border of 2 pixels; 5×5 to 16 channels by :func:`oriented_bank`, pool, ReLU;
    3×3 to 32, pool, ReLU; 512 to 128, ReLU; 10. The first layer is fixed, so the backward pass
    skips the largest activations: more than half of the work of a step. ``width`` multiplies the
    channels and units between the filters and the classes.
    """

    log_probabilities = False
    divisible = True

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        channels, hidden = round(32 * width), round(128 * width)
        self.register_buffer("bank", oriented_bank())
        self.conv = nn.Conv2d(16, channels, kernel_size=3)
        self.fc1 = nn.Linear(16 * channels, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, classes)."""
        x = F.conv2d(images[:, :, 2:-2, 2:-2], self.get_buffer("bank"))
        # Max pooling with slices: without a gradient it takes a third of max_pool2d's time.
        x = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
        x = F.relu(torch.maximum(x[..., 0::2], x[..., 1::2]))
        x = F.relu(F.max_pool2d(self.conv(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        out: Tensor = self.fc2(x)
        return out


def oriented_bank(size: int = 5) -> Tensor:
    """Edge and line detectors (16, 1, size, size), float32, each with mean 0 and 2-norm 0.6.

    First, eight edges, 45° apart: first derivatives of a round Gaussian of σ = 1.6 pixels. Then
    four light and four dark lines, 45° apart: second derivatives of a Gaussian of σ = 1 across and
    1.6 along, negated for dark lines. Channels-last in memory.

    Source: derivatives of Gaussians as models of the early visual system, Koenderink and van
    Doorn 1987; rotated to several angles, Freeman and Adelson 1991.
    """
    edges = [_derivative(size, turn / 8, across=1.6, along=1.6, order=1) for turn in range(8)]
    lines = [_derivative(size, turn / 8, across=1.0, along=1.6, order=2) for turn in range(4)]
    filters = torch.stack([*edges, *lines, *(-line for line in lines)])
    filters = filters - filters.mean((1, 2), keepdim=True)
    filters = 0.6 * filters / torch.linalg.vector_norm(filters, dim=(1, 2), keepdim=True)
    bank: Tensor = filters[..., None].permute(0, 3, 1, 2)
    return bank


def _derivative(size: int, turn: float, *, across: float, along: float, order: int) -> Tensor:
    """A Gaussian's first or second derivative (size, size), unscaled, rotated by ``turn`` full turns.

    ``across`` and ``along`` are the σ in pixels, along the derivative and at right angles to it.
    """
    # Always on the CPU: on the meta device these operations import SymPy.
    centred = torch.arange(size, device="cpu") - (size - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")
    angle = 2 * math.pi * turn
    u = x * math.cos(angle) + y * math.sin(angle)
    v = y * math.cos(angle) - x * math.sin(angle)
    gaussian = torch.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
    derivative: Tensor = (u if order == 1 else 1 - u**2 / across**2) * gaussian
    return derivative


class Conv4(nn.Module):
    """Our default network: four convolutions with batch norm and one linear layer.

    5×5 to 32 channels, pool; 3×3 to 64, padded; 3×3 to 64, pool; 3×3 to 96; each with batch
    norm and ReLU; 864 to 10. Pooling precedes the norm and the ReLU, which then work on a quarter
    of the pixels, with the same result. 120,000 parameters. ``width`` multiplies the channels
    between the image and the classes.
    """

    log_probabilities = False
    divisible = True

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        base = round(32 * width)
        self.conv1 = nn.Conv2d(1, base, 5, bias=False)
        self.norm1 = nn.BatchNorm2d(base)
        self.conv2 = nn.Conv2d(base, 2 * base, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * base)
        self.conv3 = nn.Conv2d(2 * base, 2 * base, 3, bias=False)
        self.norm3 = nn.BatchNorm2d(2 * base)
        self.conv4 = nn.Conv2d(2 * base, 3 * base, 3, bias=False)
        self.norm4 = nn.BatchNorm2d(3 * base)
        self.fc = nn.Linear(27 * base, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, classes)."""
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(images), 2)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.norm3(F.max_pool2d(self.conv3(x), 2)))
        x = F.relu(self.norm4(self.conv4(x)))
        out: Tensor = self.fc(x.flatten(1))
        return out


class Conv4Wide(Conv4):
    """The default network at twice the width, for the ``accurate`` preset; 462,000 parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__(classes, width=2)


MAX_CLASSES = 100_000

REGISTRY: Mapping[str, Callable[..., nn.Module]] = {
    "notebook": Notebook,
    "example-2018": Example2018,
    "example-2019": Example2019,
    "example": Example,
    "conv2": Conv2,
    "oriented": Oriented,
    "conv4": Conv4,
    "conv4-wide": Conv4Wide,
}
"""All take the number of classes; :data:`mnist_cli.config.choices.SCALABLE` also take a width."""

ALIKE: Mapping[str, str] = {"example": "example-2019"}
"""Pairs of networks with the same names and shapes of weights: only accuracy distinguishes them."""

RECOGNISED = tuple(name for name in REGISTRY if name not in ALIKE.values())
"""The networks that are recognised by their weights alone."""


def build(name: str, classes: int = 10) -> nn.Module:
    """Make the network ``name`` with fresh weights, drawn from torch's global generator.

    A name such as ``path/net.py:Net`` executes that file, so it must come from the user.

    Raises:
        UsageError: no network has that name.
    """
    if ModelName(name).is_own:
        from mnist_cli.networks import own_network

        return own_network.build(name, classes)
    known = width_of(name)
    if known is None:
        raise UsageError(*unknown_model(name))
    if name in REGISTRY:
        return REGISTRY[name](classes)
    base, width = known
    return REGISTRY[base](classes, width)


def is_divisible(name: str) -> bool:
    """Whether two threads can compute the halves of a batch; False for a user's own network."""
    known = None if ModelName(name).is_own else width_of(name)
    if known is None:
        return False
    return bool(getattr(REGISTRY[known[0]], "divisible", False))


def recognise(
    weights: Mapping[str, Tensor], among: Iterable[str] = RECOGNISED
) -> tuple[str, int] | None:
    """Find the network in ``among`` whose weights have exactly these names and shapes.

    The order of the weights does not matter, since some programs sort them.

    Returns:
        Its name and number of classes.

    Raises:
        UsageError: a network of the user's own cannot be built.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in among:
        classes = count_classes(name, weights)
        if classes is None:
            continue
        expected = expected_weights(name, classes)
        if {key: tuple(tensor.shape) for key, tensor in expected.items()} == shapes:
            return name, classes
    return None


def expected_weights(name: str, classes: int) -> Mapping[str, Tensor]:
    """Names, shapes and dtypes of a network's weights, on the meta device.

    Raises:
        UsageError: no network has that name.
    """
    if ModelName(name).is_own:
        from mnist_cli.networks import own_network

        return own_network.expected_weights(name, classes)
    return _registered_weights(name, classes)


@lru_cache(maxsize=64)
def _registered_weights(name: str, classes: int) -> Mapping[str, Tensor]:
    """Cached: a file of many state_dicts needs them many times, and each build takes 4 ms."""
    with torch.device("meta"):
        return build(name, classes).state_dict()


def count_classes(name: str, weights: Mapping[str, Tensor]) -> int | None:
    """The number of classes of weights of the network ``name``; None for another network's weights.

    It is the length of the last layer's bias, the last entry of every registered network.
    """
    if ModelName(name).is_own:
        from mnist_cli.networks import own_network

        return own_network.count_classes(name, weights)
    bias = weights.get(list(expected_weights(name, 1))[-1])
    if bias is None or bias.ndim != 1 or not 1 <= len(bias) <= MAX_CLASSES:
        return None
    return len(bias)


def loss(scores: Tensor, labels: Tensor, *, log_probabilities: bool, smoothing: float) -> Tensor:
    """Mean loss () of scores (N, classes) for labels (N,), int64.

    It is the negative log-likelihood of log-probabilities, or else the cross-entropy. With label
    smoothing it is always the cross-entropy: log-softmax does not change log-probabilities.
    Scores in half precision are converted to float32 first.
    """
    if scores.itemsize < 4:
        scores = scores.float()
    if log_probabilities and not smoothing:
        return F.nll_loss(scores, labels)
    return F.cross_entropy(scores, labels, label_smoothing=smoothing)
