"""A test set as points in a plane: images with similar features lie near each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation, Split
from mnist_cli.insight.layers import features

KEPT = 50
"""Number of principal components for t-SNE, as its authors chose."""

NEIGHBOURS = 2000
"""Number of images for t-SNE. 10,000 take more than a minute, and time grows faster than that."""


@torch.no_grad()
def describe(
    model: nn.Module, split: Split, normalisation: Normalisation, *, batch_size: int
) -> Tensor:
    """The input of the last layer (N, D), float32 on the CPU, for every image of the split."""
    batches = split.images.split(batch_size)
    parts = [features(model, normalisation(batch.float())).float().cpu() for batch in batches]
    return torch.cat(parts)


@dataclass(frozen=True)
class Components:
    """Coordinates (N, K) along principal components, and each component's share of the variance (K,)."""

    coordinates: Tensor
    shares: Tensor


def principal_components(points: Tensor) -> Components:
    """Up to :data:`KEPT` principal components of points (N, D), the most important first.

    Uses torch's randomised decomposition with a fixed seed. The largest coordinate of each component is
    made positive.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, singular, _ = torch.pca_lowrank(points, q=min(KEPT, *points.shape), niter=4)
    coordinates = left * singular
    largest = coordinates.gather(0, coordinates.abs().argmax(0, keepdim=True))
    total = (points - points.mean(0)).square().sum().clamp(min=torch.finfo(points.dtype).tiny)
    return Components(coordinates * torch.where(largest < 0, -1, 1), singular.square() / total)


def neighbour_map(points: Tensor) -> npt.NDArray[np.float32]:
    """Points (N, K) laid out in a plane (N, 2) by t-SNE; only neighbourhoods have a meaning.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008; scikit-learn's.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1)
    placed: npt.NDArray[np.float32] = tsne.fit_transform(points.numpy())
    return placed


def charted(
    points: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    rows: int = 16,
    columns: int = 60,
) -> list[str]:
    """Points as lines of text, top first; each character is the most frequent class there.

    Args:
        points: (N, 2), float32.
        labels: (N,), int64, their classes.
        names: a character for each class.
        rows: number of lines.
        columns: number of characters in a line.
    """
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    across = (scaled[:, 0] * (columns - 1)).round().astype(np.int64)
    down = ((1 - scaled[:, 1]) * (rows - 1)).round().astype(np.int64)
    counts = np.zeros((rows, columns, len(names)), np.int64)
    np.add.at(counts, (down, across, labels), 1)
    most = counts.argmax(2)
    return [
        "".join(
            names[kind] if count[kind] else " " for kind, count in zip(line, each, strict=True)
        ).rstrip()
        for line, each in zip(most, counts, strict=True)
    ]


def spread(count: int, most: int) -> Tensor:
    """Indices (M,), int64, of all of ``count`` rows, or of ``most`` of them, evenly spread."""
    kept = min(count, most)
    return torch.arange(kept) * count // kept
