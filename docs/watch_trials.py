"""Measures what `watch` costs: ``python docs/watch_trials.py``.

Prints the table of docs/autograd.md. Two copies of a network train by turns in one process, one of
them watched; a row has the ratio of their shortest and of their median steps, in seconds of the
processor. No measured step is recorded, as 99 of 100 are not.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli.autograd import watch
from mnist_cli.networks import registry


class Transformer(nn.Module):
    """Two layers of width 128 over 64 tokens of a vocabulary of 256."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(128, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (B, 256, T) of tokens (B, T)."""
        scores: Tensor = self.head(self.layers(self.embed(tokens)))
        return scores.transpose(1, 2)


def images(batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The default network with a batch of noise."""
    return registry.build("conv4"), torch.randn(batch, 1, 28, 28), torch.randint(10, (batch,))


def tokens(batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The transformer with a batch of random tokens."""
    shape = (batch, 64)
    return Transformer(), torch.randint(256, shape), torch.randint(256, shape)


def stepper(model: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], float]:
    """A training step, which returns the seconds that it took."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> float:
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        return time.process_time() - start

    return step


def measured(model: nn.Module, inputs: Tensor, labels: Tensor, count: int) -> list[list[float]]:
    """Seconds of ``count`` steps without and with a watch, taken by turns."""
    copied = copy.deepcopy(model)
    plain, watched = stepper(model, inputs, labels), stepper(copied, inputs, labels)
    with watch(copied, every=10**9):
        for _ in range(3):  # the first is recorded
            plain()
            watched()
        return [
            list(times) for times in zip(*((plain(), watched()) for _ in range(count)), strict=True)
        ]


def main() -> None:
    """Measure each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="steps of each kind")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = {
        "`conv4`, 64 images": images(64),
        "`conv4`, 256 images": images(256),
        "transformer, 8 × 64 tokens": tokens(8),
        "transformer, 64 × 64 tokens": tokens(64),
    }
    print("| network and batch | step, ms | with a watch, shortest | median |")
    print("| --- | --- | --- | --- |")
    for name, (model, inputs, labels) in cases.items():
        plain, watched = measured(model, inputs, labels, options.count)
        least = min(watched) / min(plain) - 1
        middle = statistics.median(watched) / statistics.median(plain) - 1
        step = 1000 * statistics.median(plain)
        print(f"| {name} | {step:.1f} | {least:+.1%} | {middle:+.1%} |")


if __name__ == "__main__":
    main()
