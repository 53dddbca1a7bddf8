"""Maps of features, against scikit-learn's PCA and groups that lie apart."""

from __future__ import annotations

import numpy as np
import torch
from rounding import assert_as_accurate, in_float64
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from mnist_cli.data.split import Normalisation, Split
from mnist_cli.insight import embedding
from mnist_cli.networks import registry as models


def points(count: int = 300, size: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scales = 0.7 ** torch.arange(size)
    return 5 + torch.randn(count, size, generator=generator) * scales


def test_principal_components_are_scikit_learns() -> None:
    state = torch.get_rng_state()
    found = embedding.principal_components(points())
    assert torch.equal(state, torch.get_rng_state())
    pca = PCA(4, svd_solver="full").fit(points().double().numpy())
    expected = pca.transform(points().double().numpy())
    expected *= np.sign(expected[np.abs(expected).argmax(0), range(4)])
    np.testing.assert_allclose(found.coordinates[:, :4].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(found.shares[:4].numpy(), pca.explained_variance_ratio_, rtol=1e-4)


def test_points_that_are_all_the_same_lie_in_one_place() -> None:
    found = embedding.principal_components(torch.ones(6, 3))
    assert found.coordinates.isfinite().all()
    assert found.shares.abs().max() < 1e-6


def test_neighbours_stay_neighbours_and_the_map_repeats() -> None:
    groups = torch.arange(90) % 3
    apart = points(90) + 8 * torch.nn.functional.one_hot(groups, 20)
    placed = embedding.neighbour_map(apart)
    assert placed.shape == (90, 2)
    nearest = KNeighborsClassifier(5).fit(placed, groups)
    assert nearest.score(placed, groups) == 1.0
    assert np.array_equal(placed, embedding.neighbour_map(apart))


def test_a_chart_shows_in_each_place_whom_there_are_most_of() -> None:
    placed = np.array([[0, 0], [0, 0], [0, 0], [4, 2], [2, 1]], np.float32)
    labels = np.array([2, 1, 2, 0, 1])
    chart = embedding.charted(placed, labels, "abc", rows=3, columns=5)
    assert chart == ["    a", "  b", "c"]
    assert embedding.charted(placed[:1], labels[:1], "abc", rows=2, columns=3) == ["", "c"]


def test_rows_are_spread_evenly() -> None:
    assert embedding.spread(10, 4).tolist() == [0, 2, 5, 7]
    assert embedding.spread(3, 4).tolist() == [0, 1, 2]


def test_features_of_a_split_do_not_hang_on_the_batches() -> None:
    torch.manual_seed(0)
    net = models.build("conv2", 10)
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    split = Split.of("test", images, np.zeros(7, np.uint8))
    normalisation = Normalisation(0.1307, 0.3081)
    whole, parts = (
        embedding.describe(net, split, normalisation, batch_size=size) for size in (7, 3)
    )
    assert whole.shape == (7, 256)
    exact = embedding.describe(in_float64(net), split, normalisation, batch_size=7)
    assert_as_accurate(parts, whole, exact)
