"""Chooses training images at random, hard ones with a higher probability.

A small classifier, fitted in a fraction of a second, finds how hard each image is. An easy image
teaches a network little, so a run on hard images needs fewer steps.

All values are integers that float32 sums exactly, so the choice depends neither on the number of
threads nor on the processor.

Sources: Coleman et al. 2020, "Selection via Proxy"; McDonnell et al. 2015, "Fast, Simple and
Accurate Handwritten Digit Classification by Training Shallow Neural Network Classifiers with the
'Extreme Learning Machine' Algorithm", for units that compare two images; Kool et al. 2019,
"Stochastic Beams and Where to Find Them", for drawing without replacement.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.devices.device import computes_bf16

UNITS = 256
"""Number of units in the classifier's hidden layer."""

FITTED = 2500
"""Number of images that the classifier is fitted to."""

RIDGE = 1e-3
"""Regularisation, as a fraction of the mean square of a unit."""

CHUNK = 4000
"""Number of images scored at once: their pixels and units fit into a core's cache."""

WEIGHT = 127
"""Largest weight: a product with a unit then stays far below 2**24, up to which float32 is exact."""


def choose(images: Tensor, labels: Tensor, count: int, *, prefer_hard: float, seed: int) -> Tensor:
    """Draw ``count`` of the images, without replacement.

    The probability that an image is drawn next is proportional to exp(-prefer_hard · margin). The
    margin is the score of the image's label less the highest other score, 1 for an ideal answer.

    Args:
        images: (N, 1, 28, 28), uint8, on the CPU.
        labels: (N,), int64.
        count: number of images to draw, at most N.
        prefer_hard: 0 draws all images with the same probability.
        seed: determines the choice.

    Returns:
        Their indices (count,), int64, ascending.
    """
    generator = torch.Generator().manual_seed(seed)
    margins = _margins(images, labels, generator).double()
    noise = torch.rand(len(images), generator=generator, dtype=torch.float64).log().neg().log()
    # This takes a quarter of the time of torch's topk.
    order = np.argpartition((prefer_hard * margins + noise).numpy(), count - 1)
    return torch.from_numpy(np.sort(order[:count]))


@torch.no_grad()
def _margins(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image's margin (N,), float32, by a classifier with one hidden layer of fixed weights.

    A unit's weights are the difference of two images. The output layer is a ridge regression.
    """
    # Both give the same result; a processor without bf16 would emulate it.
    dtype = torch.bfloat16 if computes_bf16(images.device) else torch.float32

    def pixels(images: Tensor) -> Tensor:
        return (images[:, 0, 3:26:2, 3:26:2].flatten(1) >> 6).to(dtype)

    few = torch.randperm(len(images), generator=generator)[:FITTED]
    sample = pixels(images.index_select(0, few))  # images[few] takes much longer
    half = min(UNITS, len(few) // 2)
    weights = (sample[:half] - sample[half : 2 * half]).mT.contiguous()

    def units(pixels: Tensor) -> Tensor:
        return (pixels @ weights).bfloat16().relu_()

    fitted = units(sample).double()
    targets = F.one_hot(labels[few], int(labels.max()) + 1).double()
    gram = fitted.mT @ fitted
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1)
    output = torch.linalg.solve(gram, fitted.mT @ targets)
    scale = WEIGHT / output.abs().max().clamp(min=1e-9)
    output = (output * scale).round().to(dtype)
    parts = [units(pixels(some)).to(dtype) @ output for some in images.split(CHUNK)]
    scores = torch.cat(parts).bfloat16().float()
    own = scores.gather(1, labels[:, None]).squeeze(1)
    scores.scatter_(1, labels[:, None], -torch.inf)
    margins: Tensor = (own - scores.amax(1)) / scale.float()
    return margins
