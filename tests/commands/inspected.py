"""Weights for ``inspect-grad`` to look at, and gradients that plain torch computes of them.

Of ours it uses only the networks, which ``tests/networks/test_models.py`` holds against those of
others; the digits are normalised by hand.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cli import catalogue
from mnist_cli.data import store
from mnist_cli.networks import registry as models

SMALL = ("--dataset", "digits", "--batch-size", "4", "--precision", "fp32")
"""A batch that takes no time, in the precision that plain torch computes in."""


def saved(name: str, folder: Path) -> Path:
    """A fresh network's state_dict, as another program saves it."""
    torch.manual_seed(7)
    path = folder / f"{name}.pt"
    torch.save(models.build(name).state_dict(), path)
    return path


def plain_gradients(path: Path, name: str, indices: list[int], *, train: bool) -> dict[str, Tensor]:
    """Each parameter's gradient of the mean loss of these training digits, by plain torch."""
    network = models.build(name)
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


def plain_activation(path: Path, indices: list[int]) -> Tensor:
    """The output (N, C, H, W) of the first layer for these training digits, by plain torch."""
    state = torch.load(path, weights_only=True)
    spec = catalogue.get("digits")
    data = store.read(spec, "train", Path("nowhere"))
    pixels = torch.as_tensor(data.images[indices]).reshape(-1, 1, 28, 28).float() / 255
    return F.conv2d((pixels - spec.mean) / spec.std, state["conv1.weight"], state["conv1.bias"])
