"""Saliency and class maximisation, against gradients written out."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from rounding import assert_as_accurate, smooth

from mnist_cli.data.split import Normalisation
from mnist_cli.insight.pixels import Ascent, maximise, saliency
from mnist_cli.networks import registry as models

NORMALISATION = Normalisation(0.1307, 0.3081)


def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8, generator=generator)


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(2)
    return models.build(name, 10)


@pytest.mark.parametrize("name", ["conv2", "example", "oriented", "conv4"])
def test_saliency_is_the_gradient_written_out(name: str) -> None:
    net = network(name).train()
    with smooth():
        found = saliency(net, image(), NORMALISATION)
        usual, exact = (
            written_out(network(name).to(kind)) for kind in (torch.float32, torch.float64)
        )
    assert net.training
    order = exact.scores.argsort(descending=True).tolist()
    assert [found.predicted, found.rival] == order[:2]
    assert_as_accurate(found.gradient, usual.gradient, exact.gradient)
    assert_as_accurate(found.difference, usual.difference, exact.difference)
    answers = [one.scores.log_softmax(0) for one in (usual, exact)]
    assert_as_accurate(found.log_probabilities, *answers)
    assert all(parameter.grad is None for parameter in net.parameters())


class Written(NamedTuple):
    scores: torch.Tensor
    gradient: torch.Tensor
    difference: torch.Tensor


def written_out(net: torch.nn.Module) -> Written:
    """Scores, the gradient of the highest, and the gradient of its lead."""
    brightness = (image().to(next(net.parameters()).dtype) / 255).requires_grad_()
    scores = net.eval()((brightness[None] - 0.1307) / 0.3081)[0]
    first, second = scores.topk(2).values
    (said,) = torch.autograd.grad(first, brightness, retain_graph=True)
    (rival,) = torch.autograd.grad(second, brightness)
    return Written(scores.detach(), said[0], (said - rival)[0])


def test_confidence_grows_for_each_class_and_pixels_stay_in_bounds() -> None:
    net = network("conv2").train()
    state = torch.get_rng_state()
    begin = maximise(net, NORMALISATION, classes=10, ascent=Ascent(steps=0))
    found = maximise(net, NORMALISATION, classes=10, ascent=Ascent(steps=40))
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    assert found.images.shape == (10, 28, 28)
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    assert bool((found.confidences > begin.confidences).all())
    with torch.no_grad():
        answers = net.eval()((found.images[:, None] - 0.1307) / 0.3081).softmax(1)
    torch.testing.assert_close(found.confidences, answers.diagonal(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_unused_pixels_decay_to_the_ground(ground: float) -> None:
    begin, end = (
        maximise(
            network("conv2"), NORMALISATION, classes=10, ground=ground, ascent=Ascent(steps, rate=0)
        )
        for steps in (0, 90)
    )
    assert 0.04 < float((begin.images - ground).abs().mean()) < 0.06
    assert float((end.images - ground).abs().max()) < 0.001


def test_the_same_seed_gives_the_same_images() -> None:
    net = network("conv2")
    images = [
        maximise(net, NORMALISATION, classes=10, ascent=Ascent(steps=3, seed=seed)).images
        for seed in (0, 0, 1)
    ]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
