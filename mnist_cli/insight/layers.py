"""A network's layers in one forward pass: the input, the weight and the output of each.

A layer is an operation with a weight and all that follow until the next one: convolution, pool,
norm, ReLU. Layers are found by watching operations rather than modules: a ReLU need not be a
module, and a fixed bank of filters is not one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mnist_cli.insight.called_operations import watch_forward
from mnist_cli.insight.operations import in_words

WEIGHTED = ("conv2d", "linear")
FOLLOWING = {
    *("max_pool2d", "avg_pool2d", "maximum"),
    *("batch_norm", "group_norm", "layer_norm", "instance_norm"),
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardtanh", "hardswish", "tanh", "sigmoid", "log_softmax"),
}
"""Operations that belong to the layer before them. ``maximum`` is a max pool made of slices."""


@dataclass(frozen=True)
class Layer:
    """One layer in one forward pass.

    Attributes:
        name: the path of its weight's module, or of the weight itself.
        operations: its operations in order, in words.
        weight: (out, in) of a linear layer, (out, in, height, width) of a convolution.
        inputs: (N, …), the input of the first operation.
        output: (N, …), the output of the last operation.
    """

    name: str
    operations: tuple[str, ...]
    weight: Tensor
    inputs: Tensor
    output: Tensor

    @property
    def fixed(self) -> bool:
        """Whether the weight is a buffer, which is not trained."""
        return not isinstance(self.weight, nn.Parameter)


def trace_layers(model: nn.Module, images: Tensor) -> list[Layer]:
    """The layers of a network, in the order in which they compute, in evaluation mode.

    Layers that are neither convolutions in two dimensions nor linear are passed over, and linear
    layers that act on sequences.

    Args:
        model: a network, not compiled, not an ensemble.
        images: (N, 1, H, W), float, normalised, on the network's device.
    """
    found = _Layers(_owners(model))
    watch_forward(model, images, found.see)
    return found.layers


def features(model: nn.Module, images: Tensor) -> Tensor:
    """The input (N, D) of the last layer: the network's own description of the images.

    Args:
        model: as for :func:`trace_layers`.
        images: (N, 1, H, W), float, normalised, on the network's device.

    Raises:
        IndexError: the network has no layer.
    """
    return trace_layers(model, images)[-1].inputs.flatten(1)


def _owners(model: nn.Module) -> dict[int, str]:
    """The name of the layer of each parameter and buffer, by identity."""
    owners = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        path, _, last = name.rpartition(".")
        owners[id(tensor)] = path if last == "weight" else name
    return owners


class _Layers:
    """Gathers the operations of a forward pass into layers."""

    def __init__(self, owners: Mapping[int, str]) -> None:
        self.layers: list[Layer] = []
        self._owners = owners

    def see(
        self, name: str, args: tuple[Any, ...], _kwargs: Mapping[str, Any], result: Any
    ) -> None:
        words = in_words("max_pool2d" if name == "maximum" else name)
        if name in WEIGHTED and len(args) >= 2 and result.ndim in (2, 4):
            inputs, weight = args[:2]
            owner = self._owners.get(id(weight), "")
            self.layers.append(Layer(owner, (words,), weight, inputs, result))
        elif name in FOLLOWING and self.layers:
            last = self.layers[-1]
            repeated = last.operations[-1] == words  # a pool made of two maxima is one
            operations = last.operations if repeated else (*last.operations, words)
            self.layers[-1] = replace(last, operations=operations, output=result)
