"""What can be looked at in networks with unusual parts, and what is left out."""

from __future__ import annotations

import odd_networks
import pytest
import torch

from mnist_cli.data.split import Normalisation
from mnist_cli.insight.flow import follow
from mnist_cli.insight.layers import trace_layers
from mnist_cli.insight.pixels import Ascent, NoPixelGradient, maximise, saliency

NORMALISATION = Normalisation(0.1307, 0.3081)
LAYERS = {
    "Vit": ["patches", "head"],
    "Reshaped": ["conv", "fc"],
    "Maxout": ["conv", "a", "b"],
    "Indices": ["fc"],
    "Sparse": ["fc"],
    "Convolutional": ["conv1", "conv2"],
    "Products": [],
    "Waves": ["fc2"],
    "Nested": ["part.conv", "fc"],
    "Recurrent": [],
    "Volumes": [],
    "Causal": ["fc"],
    "Checkpointed": ["block.0", "fc"],
    "Reentrant": ["block.0", "fc"],
    "Normed": ["", ""],
    "Patches": ["fc3"],
    "Detached": ["conv", "fc1", "fc2"],
}
BLOCKED = ("Indices", "Sparse", "Reentrant", "Detached")


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return getattr(odd_networks, name)().eval()


@pytest.mark.parametrize("name", odd_networks.NAMES)
def test_layers_are_those_of_whole_images(name: str) -> None:
    images = torch.randn(3, 1, 28, 28)
    layers = trace_layers(network(name), images)
    assert [layer.name for layer in layers] == LAYERS[name]
    for layer in layers:
        assert layer.output.ndim == layer.weight.ndim
        assert len(layer.inputs) == len(layer.output) == 3
    assert sum(follow(network(name), images).weights.__dict__.values()) > 0


@torch.no_grad()
def test_a_layer_ends_where_its_output_is_reshaped_or_shared() -> None:
    images = torch.randn(3, 1, 28, 28)
    net = network("Reshaped")
    assert isinstance(net, odd_networks.Reshaped)
    conv, _ = trace_layers(net, images)
    assert conv.operations == ("convolution",)
    assert torch.equal(conv.output, net.conv(images))
    other = network("Maxout")
    assert isinstance(other, odd_networks.Maxout)
    conv, _, last = trace_layers(other, images)
    maps = other.conv(images)
    assert conv.operations == ("convolution", "maximum")
    assert torch.equal(conv.output, torch.maximum(maps[:, :4], maps[:, 4:]))
    assert last.operations == ("linear",)


@pytest.mark.parametrize("name", odd_networks.NAMES)
def test_pixels_have_a_gradient_or_a_reason(name: str) -> None:
    net = network(name)
    image = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)

    def both() -> None:
        saliency(net, image, NORMALISATION)
        maximise(net, NORMALISATION, classes=10, ascent=Ascent(steps=2))

    if name in BLOCKED:
        with pytest.raises(NoPixelGradient, match=r"no gradient"):
            both()
    else:
        both()


def test_a_gradient_that_is_not_finite() -> None:
    class Root(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(784, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.fc((images - images.detach()).abs().sqrt().flatten(1))

    with pytest.raises(NoPixelGradient, match="is not finite") as caught:
        saliency(Root(), torch.zeros(1, 28, 28, dtype=torch.uint8), NORMALISATION)
    assert (caught.value.code, caught.value.kind) == (6, "non-finite")
