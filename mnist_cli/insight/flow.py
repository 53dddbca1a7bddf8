"""The operations of one forward pass through a network, and the cost of each.

A ReLU, a pool or a reshaping that is a function rather than a module is an operation too. Shapes,
weights, multiply-adds and memory are measured in the forward pass, so they hold for any network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.module_tracker import ModuleTracker

from mnist_cli.autograd.bits import tensors_in
from mnist_cli.autograd.costs import ProductCounter
from mnist_cli.insight.called_operations import watch_forward
from mnist_cli.insight.operations import describe

Shape = tuple[int, ...]
KINDS = ("trained", "fixed", "statistics")


@dataclass(frozen=True)
class Weights:
    """The number of elements in the weights of a network or an operation.

    Attributes:
        trained: in parameters that an optimiser changes.
        fixed: in parameters and buffers that do not change, such as a bank of filters.
        statistics: in a batch norm's running statistics.
    """

    trained: int = 0
    fixed: int = 0
    statistics: int = 0


@dataclass(frozen=True)
class Step:
    """One operation on the data.

    Attributes:
        number: from 1, in the order in which they compute.
        module: the path of its weight's module, or of the weight itself. Without a weight, the
            path of the module that calls it; empty for the network.
        operation: its description in words.
        sources: the numbers of the steps whose results it takes; 0 stands for the images.
        inputs: shapes of its inputs, without weights.
        outputs: shapes of its outputs.
        weights: the weights that it uses and no earlier step uses.
        multiply_adds: pairs of a multiplication and an addition, without biases.
        bytes: memory of its outputs; 0 if they share the memory of its inputs.
    """

    number: int
    module: str
    operation: str
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    weights: Weights
    multiply_adds: int
    bytes: int


@dataclass(frozen=True)
class Flow:
    """A whole forward pass.

    Attributes:
        images: shape of the input, (N, C, H, W).
        steps: the operations on the data.
        weights: of the network, used or not.
        weight_bytes: memory of the weights.
        unused: the number of elements of each weight that no step uses.
    """

    images: Shape
    steps: tuple[Step, ...]
    weights: Weights
    weight_bytes: int
    unused: Mapping[str, int]

    @property
    def multiply_adds(self) -> int:
        """Of all steps, for the whole batch."""
        return sum(step.multiply_adds for step in self.steps)

    @property
    def bytes(self) -> int:
        """Memory of all steps' outputs: the most that training keeps of a forward pass."""
        return sum(step.bytes for step in self.steps)


def follow(model: nn.Module, images: Tensor) -> Flow:
    """Follow images through a network, in evaluation mode and without gradient.

    Args:
        model: a network, not compiled, not an ensemble.
        images: (N, C, H, W), float, on the network's device; their values do not matter.
    """
    counter, modules = ProductCounter(), ModuleTracker()
    tracer = _Tracer(model, images, counter, modules)
    with modules, counter:
        watch_forward(model, images, tracer.see)
    named = dict(_named(model))
    return Flow(
        images=tuple(images.shape),
        steps=tuple(tracer.steps),
        weights=_count(named, _kinds(model)),
        weight_bytes=sum(tensor.nbytes for tensor in named.values()),
        unused={name: named[name].numel() for name in named if name not in tracer.counted},
    )


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _kinds(model: nn.Module) -> dict[str, str]:
    """The kind, one of :data:`KINDS`, of each parameter and buffer."""
    kinds = {
        name: "trained" if parameter.requires_grad else "fixed"
        for name, parameter in model.named_parameters()
    }
    for path, module in model.named_modules():
        # Batch and instance norms alone have this attribute.
        kind = "statistics" if hasattr(module, "track_running_stats") else "fixed"
        for name, _ in module.named_buffers(path, recurse=False):
            kinds[name] = kind
    return kinds


def _count(named: Mapping[str, Tensor], kinds: Mapping[str, str]) -> Weights:
    sums = dict.fromkeys(KINDS, 0)
    for name, tensor in named.items():
        sums[kinds[name]] += tensor.numel()
    return Weights(**sums)


@dataclass
class _Tracer:
    """Makes a step of each operation on the data.

    Tensors are known by their identity, so all that were seen are kept. The result of an operation
    on weights alone, such as a transposition, stands for these weights.
    """

    model: nn.Module
    images: Tensor
    counter: ProductCounter
    modules: ModuleTracker
    steps: list[Step] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._weights = dict(_named(self.model))
        self._kinds = _kinds(self.model)
        self._names = {id(tensor): {name} for name, tensor in self._weights.items()}
        self._steps = {id(self.images): 0}
        self._kept: list[Tensor] = [self.images]
        self._products = 0

    def see(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Record one operation; called after it."""
        products = self.counter.multiply_adds
        spent, self._products = products - self._products, products
        taken, made = list(tensors_in((args, kwargs))), list(tensors_in(result))
        if not made:
            return
        self._kept += made
        data = [tensor for tensor in taken if id(tensor) in self._steps]
        used = set().union(*(self._names.get(id(tensor), set()) for tensor in taken))
        if not data:
            self._names.update({id(tensor): used for tensor in made if used})
            return
        number = len(self.steps) + 1
        fresh = {name: self._weights[name] for name in self._whole(used) - self.counted}
        self.counted |= set(fresh)
        step = Step(
            number=number,
            module=self._module(used),
            operation=describe(name, args, kwargs),
            sources=tuple(dict.fromkeys(self._steps[id(tensor)] for tensor in data)),
            inputs=tuple(tuple(tensor.shape) for tensor in data),
            outputs=tuple(tuple(tensor.shape) for tensor in made),
            weights=_count(fresh, self._kinds),
            multiply_adds=spent,
            bytes=_new_bytes(data, made),
        )
        self.steps.append(step)
        self._steps.update({id(tensor): number for tensor in made})

    def _whole(self, used: set[str]) -> set[str]:
        """The weights used, with all statistics of a norm: no operation uses its counter."""
        paths = {_path(name) for name in used if self._kinds[name] == "statistics"}
        same = {name for name, kind in self._kinds.items() if kind == "statistics"}
        return used | {name for name in same if _path(name) in paths}

    def _module(self, used: set[str]) -> str:
        """The module to which the weights belong, or else the innermost running module."""
        if used:
            first = next(name for name in self._weights if name in used)
            return _path(first) or first
        paths = self.modules.parents - {"Global"}
        return max(paths, key=len, default="").partition(".")[2]  # after the network's class


def _path(name: str) -> str:
    return name.rpartition(".")[0]


def _new_bytes(data: list[Tensor], made: list[Tensor]) -> int:
    """Bytes of the outputs that do not share an input's memory, each piece of memory once."""
    taken = {id(tensor.untyped_storage()) for tensor in data}
    fresh = {id(tensor.untyped_storage()): tensor for tensor in made}
    return sum(tensor.nbytes for memory, tensor in fresh.items() if memory not in taken)
