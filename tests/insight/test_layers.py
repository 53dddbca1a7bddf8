"""A network's layers as seen from outside, against the same forward written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_cli.insight.layers import features, trace_layers
from mnist_cli.networks import registry as models


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    return models.build(name, 10)


def pictures(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_activations_are_those_of_a_forward_by_hand() -> None:
    net = network("conv4").eval()
    for norm in (net.norm1, net.norm2, net.norm3, net.norm4):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    x = pictures()
    first = F.relu(net.norm1(F.max_pool2d(net.conv1(x), 2)))
    second = F.relu(net.norm2(net.conv2(first)))
    third = F.relu(net.norm3(F.max_pool2d(net.conv3(second), 2)))
    fourth = F.relu(net.norm4(net.conv4(third)))
    expected = [first, second, third, fourth, net.fc(fourth.flatten(1))]
    layers = trace_layers(net, x)
    assert [layer.name for layer in layers] == ["conv1", "conv2", "conv3", "conv4", "fc"]
    for layer, output in zip(layers, expected, strict=True):
        assert torch.equal(layer.output, output)
    assert layers[2].operations == ("convolution", "max pool", "batch norm", "ReLU")
    assert torch.equal(features(net, x), fourth.flatten(1))


@torch.no_grad()
def test_a_fixed_bank_of_filters_is_a_layer_too() -> None:
    net = network("oriented")
    x = pictures()
    first, second, *_ = trace_layers(net, x)
    assert (first.name, first.fixed, second.name, second.fixed) == ("bank", True, "conv", False)
    assert first.weight is net.bank
    pooled = F.max_pool2d(F.conv2d(x[:, :, 2:-2, 2:-2], net.bank), 2)
    assert torch.equal(first.output, F.relu(pooled))
    assert first.operations == ("convolution", "max pool", "ReLU")


@pytest.mark.parametrize("name", list(models.REGISTRY))
def test_every_network_ends_in_its_scores(name: str) -> None:
    net = network(name).train()
    x = pictures(2)
    layers = trace_layers(net, x)
    assert net.training
    trained = [key for key, _ in net.named_parameters() if key.endswith("weight")]
    convolved = [layer.name for layer in layers if not layer.fixed]
    assert convolved == [key[: -len(".weight")] for key in trained if "norm" not in key]
    with torch.no_grad():
        assert torch.equal(layers[-1].output, net.eval()(x))
    assert not any(layer.output.requires_grad for layer in layers)
