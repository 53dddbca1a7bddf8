"""Compares an exported program's answers with the network's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_cli.exporting.classifier import Answer
from mnist_cli.exporting.formats import Input

TOLERANCE = 1e-3
"""Largest difference of a probability. In float32, rounding differs by 1e-7 to 1e-5 between
programs; another computation differs by far more."""


@dataclass(frozen=True)
class Agreement:
    """Two programs' answers to the same images, compared.

    Attributes:
        images: number of images.
        largest_difference: of any probability of any image.
        differing: number of images whose most likely class differs.
        accuracy: of the exported program, a fraction of 1; None without labels.
    """

    images: int
    largest_difference: float
    differing: int
    accuracy: float | None = None

    @property
    def close(self) -> bool:
        """Whether no probability differs by more than :data:`TOLERANCE`."""
        return self.largest_difference <= TOLERANCE


@torch.no_grad()
def answers(answer: Answer, images: Tensor, taken: Input, *, batch_size: int) -> Tensor:
    """Probabilities (N, classes), float32, of images (N, 1, 28, 28), uint8, in batches.

    Args:
        answer: the exported program.
        images: N images; black ones fill the last batch if the program takes a fixed number.
        taken: the images that it takes.
        batch_size: images at once if it takes any number.
    """
    dtype = getattr(torch, taken.dtype)
    found = []
    for batch in images.split(taken.batch or batch_size):
        missing = (taken.batch or len(batch)) - len(batch)
        full = torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])]) if missing else batch
        found.append(answer(full.to(dtype))[: len(batch)])
    return torch.cat(found)


def compare(exported: Tensor, reference: Tensor, labels: Tensor | None = None) -> Agreement:
    """Compare probabilities (N, classes) of the exported program with the network's own.

    NaN counts as an infinite difference.
    """
    gaps = (exported.double() - reference.double()).abs().nan_to_num(nan=torch.inf)
    said = exported.argmax(1)
    return Agreement(
        images=len(exported),
        largest_difference=gaps.max().item(),
        differing=int((said != reference.argmax(1)).sum()),
        accuracy=None if labels is None else (said == labels).double().mean().item(),
    )
