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
from mnist_cli.insight.operations import argument, in_words

WEIGHTED = {"conv2d": 4, "linear": 2}
"""Operations that begin a layer, and the number of dimensions of their outputs."""

FOLLOWING = {
    *("max_pool2d", "avg_pool2d", "maximum"),
    *("batch_norm", "group_norm", "layer_norm", "instance_norm"),
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardtanh", "hardswish", "tanh", "sigmoid", "log_softmax"),
}
"""Operations that belong to the layer before them. ``maximum`` takes slices of its output."""


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

    Only two-dimensional convolutions and linear layers are listed. Layers that act on sequences,
    patches or complex numbers instead of whole images are skipped.

    Args:
        model: a network, not compiled, not an ensemble.
        images: (N, 1, H, W), float, normalised, on the network's device.
    """
    found = _Layers(_owners(model), len(images))
    watch_forward(model, images, found.see)
    return found.layers


def features(model: nn.Module, images: Tensor) -> Tensor:
    """The input (N, D) of the last layer: the network's own description of the images.

    The arguments are those of :func:`trace_layers`: ``images`` (N, 1, H, W), float, normalised.

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
    """Gathers the operations of a forward pass on ``count`` images into layers."""

    def __init__(self, owners: Mapping[int, str], count: int) -> None:
        self.layers: list[Layer] = []
        self._owners = owners
        self._count = count
        self._slices: list[Tensor] = []

    def see(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Record one operation; called after it."""
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        if WEIGHTED.get(name) == result.ndim:
            inputs, weight = (argument(args, kwargs, i, key) for i, key in enumerate(_TAKEN))
            if result.shape[0] == inputs.shape[0] == self._count:
                owner = self._owners.get(id(weight), "")
                self.layers.append(Layer(owner, (in_words(name),), weight, inputs, result))
        elif self.layers and self._follows(name, argument(args, kwargs, 0, "input"), args):
            self._extend(name, result)

    def _follows(self, name: str, taken: object, args: tuple[Any, ...]) -> bool:
        """Whether an operation takes the last layer's output, or slices of it that it joins."""
        if name == "maximum":
            return all(any(one is known for known in self._slices) for one in args[:2])
        return taken is self.layers[-1].output and name in {*FOLLOWING, "__getitem__"}

    def _extend(self, name: str, result: Tensor) -> None:
        last = self.layers[-1]
        if result.ndim != last.output.ndim or result.shape[0] != self._count:
            return
        if name == "__getitem__":
            self._slices.append(result)
            return
        pooled = name == "maximum" and result.shape[1] == last.output.shape[1]
        words = in_words("max_pool2d" if pooled else name)
        repeated = last.operations[-1] == words  # a pool made of two maxima is one
        operations = last.operations if repeated else (*last.operations, words)
        self.layers[-1] = replace(last, operations=operations, output=result)


_TAKEN = ("input", "weight")
