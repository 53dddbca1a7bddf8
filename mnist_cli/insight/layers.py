"""A network's layers as they compute: what goes in, the weight, what comes out.

A layer is an operation with a weight and all that follows until the next one: convolution, pool,
norm, ReLU. They are found by watching the operations of one forward rather than the modules: a
ReLU need not be a module, and a fixed bank of filters is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mnist_cli.insight.called_operations import watch_forward

WEIGHTED = {"conv2d": "convolution", "linear": "linear"}
FOLLOWING = {
    "max_pool2d": "pool",
    "maximum": "pool",  # out of slices, as in the network oriented
    "batch_norm": "norm",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "softplus": "softplus",
    "hardtanh": "clamp",
    "hardswish": "hard swish",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "avg_pool2d": "average pool",
    "group_norm": "norm",
    "layer_norm": "norm",
    "instance_norm": "norm",
    "log_softmax": "log-softmax",
}


@dataclass(frozen=True)
class Layer:
    """One layer in one forward.

    Attributes:
        name: the path of the module, or of the buffer, that its weight belongs to.
        operations: what it does, in order, in words.
        weight: (out, in) of a linear layer, (out, in, height, width) of a convolution.
        inputs: (N, …), what the weight was applied to.
        output: (N, …), what the last of its operations returned.
    """

    name: str
    operations: tuple[str, ...]
    weight: Tensor
    inputs: Tensor
    output: Tensor

    @property
    def fixed(self) -> bool:
        """Whether the weight is never trained: a buffer."""
        return not isinstance(self.weight, nn.Parameter)


def trace_layers(model: nn.Module, images: Tensor) -> list[Layer]:
    """The layers of a network in the order in which they compute, for images (N, 1, H, W).

    The network is put into evaluation mode and back into the mode it was in; no gradient flows.

    Args:
        model: a network, not compiled, not an ensemble. Of one of the user's own, what is neither
            convolution nor linear, or answers with sequences, is passed over.
        images: float, normalised, where the network's weights are.
    """
    found = _Layers(_owners(model))
    watch_forward(model, images, found.see)
    return found.layers


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What the last layer is given (N, D): the network's own description of N images.

    Raises:
        IndexError: no layer was found.
    """
    return trace_layers(model, images)[-1].inputs.flatten(1)


def _owners(model: nn.Module) -> dict[int, str]:
    """By the identity of each parameter and buffer: its module's path, or its own name."""
    owners = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        path, _, last = name.rpartition(".")
        owners[id(tensor)] = path if last == "weight" else name
    return owners


class _Layers:
    """Gathers operations into layers as they are seen."""

    def __init__(self, owners: Mapping[int, str]) -> None:
        self.layers: list[Layer] = []
        self._owners = owners

    def see(
        self, name: str, args: tuple[Any, ...], _kwargs: Mapping[str, Any], result: Any
    ) -> None:
        if name in WEIGHTED and len(args) >= 2 and result.ndim in (2, 4):
            inputs, weight = args[:2]
            owner = self._owners.get(id(weight), "")
            self.layers.append(Layer(owner, (WEIGHTED[name],), weight, inputs, result))
        elif name in FOLLOWING and self.layers:
            self._go_on(FOLLOWING[name], result)

    def _go_on(self, operation: str, output: Tensor) -> None:
        last = self.layers[-1]
        repeated = last.operations[-1] == operation  # a pool out of two maxima is one
        operations = last.operations if repeated else (*last.operations, operation)
        self.layers[-1] = replace(last, operations=operations, output=output)
