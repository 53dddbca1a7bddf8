"""Weights for ``inspect-grad`` to look at, and gradients that plain torch computes of them.

Uses nothing of ours to compute: the two networks of other programs are written here as they
stand there, and the digits are normalised by hand.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli import catalogue
from mnist_cli.data import store
from mnist_cli.networks import registry as models

SMALL = ("--dataset", "digits", "--batch-size", "4", "--precision", "fp32")
"""A batch that takes no time, in the precision that plain torch computes in."""


class NotebookNet(nn.Module):
    """The network of the notebook series, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.view(-1, 320)))
        return F.log_softmax(self.fc2(x), dim=1)


class ExampleNet(nn.Module):
    """The network of the PyTorch MNIST example, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return F.log_softmax(self.fc2(x), dim=1)


PLAIN = {"notebook": NotebookNet, "example": ExampleNet}


def saved(name: str, folder: Path) -> Path:
    """A fresh network's state_dict, as another program saves it."""
    torch.manual_seed(7)
    path = folder / f"{name}.pt"
    torch.save(models.build(name).state_dict(), path)
    return path


def plain_gradients(path: Path, name: str, indices: list[int], *, train: bool) -> dict[str, Tensor]:
    """Each parameter's gradient of the mean loss of these training digits, by plain torch."""
    network = PLAIN[name]() if name in PLAIN else models.build(name)
    network.load_state_dict(torch.load(path, weights_only=True))
    network.train(train)
    spec = catalogue.get("digits")
    data = store.read(spec, "train", Path("nowhere"))
    pixels = torch.as_tensor(data.images[indices]).reshape(-1, 1, 28, 28).float() / 255
    labels = torch.as_tensor(data.labels[indices]).long()
    scores = network((pixels - spec.mean) / spec.std)
    F.nll_loss(F.log_softmax(scores, dim=1), labels).backward()
    return {
        key: parameter.grad
        for key, parameter in network.named_parameters()
        if parameter.grad is not None
    }
