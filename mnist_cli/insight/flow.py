"""The data's way through a network: each operation of one forward, and what it costs.

What a module does not show is here too: a ReLU, a pool or a reshaping that the network's own
forward calls as a function. Shapes, weights, multiply-adds and memory are read off the forward
itself, so that they are those of any network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from mnist_cli.insight.called_operations import watch_forward
from mnist_cli.insight.operations import describe, formula

Shape = tuple[int, ...]
KINDS = ("trained", "fixed", "statistics")


@dataclass(frozen=True)
class Weights:
    """How many numbers a network holds, or an operation uses.

    Attributes:
        trained: parameters that an optimiser changes.
        fixed: parameters and buffers that nothing changes, as a bank of filters.
        statistics: a batch norm's running figures, which training gathers.
    """

    trained: int = 0
    fixed: int = 0
    statistics: int = 0


@dataclass(frozen=True)
class Step:
    """One operation on the data.

    Attributes:
        number: from 1, in the order in which they compute.
        module: the path of the module, or of the buffer, that its weight belongs to; without a
            weight the module that calls it; empty where the network itself does.
        operation: what it does, in words.
        sources: the numbers of the steps whose results it takes; 0 are the images.
        inputs: shapes of what it takes, weights apart.
        outputs: shapes of what it gives.
        weights: those that it uses and no step before it did.
        multiply_adds: a multiplication and an addition are one; biases are not counted.
        bytes: memory that its outputs take; 0 where they lie in that of its inputs.
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
    """A whole forward.

    Attributes:
        images: shape of what goes in, (N, C, H, W).
        steps: the operations on the data.
        weights: all that the network holds, used or not.
        weight_bytes: the memory they take.
        unused: weights that no step used, and how many numbers each has.
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
        """Memory of all steps' outputs together: what training keeps of a forward, at most."""
        return sum(step.bytes for step in self.steps)


def follow(model: nn.Module, images: Tensor) -> Flow:
    """Follow images (N, C, H, W) through a network, in evaluation mode and without gradient.

    Args:
        model: a network that is not compiled, and no ensemble; put back into the mode it was in.
        images: float, where the network's weights are; their values do not matter.
    """
    counter = FlopCounterMode(display=False)
    tracer = _Tracer(model, images, counter)
    # torch's counter sees no products in the attention that is made for CPUs.
    with _modules(model, tracer.modules), sdpa_kernel(SDPBackend.MATH), counter:
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
    """By the name of each parameter and buffer: which of :data:`KINDS` it is."""
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


@contextmanager
def _modules(model: nn.Module, active: list[str]) -> Iterator[None]:
    """Keep in ``active`` the paths of the modules at work, the innermost last."""
    handles: list[RemovableHandle] = []
    for path, module in model.named_modules():

        def enter(*_: Any, path: str = path) -> None:
            active.append(path)

        def leave(*_: Any) -> None:
            active.pop()

        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Tracer:
    """Makes a step of each operation on the data, as it is seen.

    A tensor is known by its identity; those that were seen are kept, so that none is taken for
    another. What an operation makes of weights alone, as a transposed one, stands for them.
    """

    model: nn.Module
    images: Tensor
    counter: FlopCounterMode
    steps: list[Step] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._weights = dict(_named(self.model))
        self._kinds = _kinds(self.model)
        self._names = {id(tensor): {name} for name, tensor in self._weights.items()}
        self._steps = {id(self.images): 0}
        self._kept: list[Tensor] = [self.images]
        self._flops = 0

    def see(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take note of one operation."""
        flops = self.counter.get_total_flops()
        spent, self._flops = flops - self._flops, flops
        taken, made = list(_tensors([*args, *kwargs.values()])), list(_tensors(result))
        if not made:
            return
        self._kept += made
        data = [tensor for tensor in taken if id(tensor) in self._steps]
        used = set().union(*(self._names.get(id(tensor), set()) for tensor in taken))
        if not data:
            self._names.update({id(tensor): used for tensor in made if used})
            return
        exact = formula(name, args, made[0])
        self._add(
            describe(name, args, kwargs), data, made, used, spent // 2 if exact is None else exact
        )

    def _add(
        self,
        operation: str,
        data: list[Tensor],
        made: list[Tensor],
        used: set[str],
        multiply_adds: int,
    ) -> None:
        number = len(self.steps) + 1
        fresh = {name: self._weights[name] for name in self._whole(used) - self.counted}
        self.counted |= set(fresh)
        step = Step(
            number=number,
            module=self._module(used),
            operation=operation,
            sources=tuple(dict.fromkeys(self._steps[id(tensor)] for tensor in data)),
            inputs=tuple(tuple(tensor.shape) for tensor in data),
            outputs=tuple(tuple(tensor.shape) for tensor in made),
            weights=_count(fresh, self._kinds),
            multiply_adds=multiply_adds,
            bytes=_new_bytes(data, made),
        )
        self.steps.append(step)
        self._steps.update({id(tensor): number for tensor in made})

    def _whole(self, used: set[str]) -> set[str]:
        """The weights used, and of a norm all its statistics: its counter is in no operation."""
        paths = {_path(name) for name in used if self._kinds[name] == "statistics"}
        same = {name for name, kind in self._kinds.items() if kind == "statistics"}
        return used | {name for name in same if _path(name) in paths}

    def _module(self, used: set[str]) -> str:
        """The module that the weights belong to, or that is at work."""
        if used:
            first = next(name for name in self._weights if name in used)
            return _path(first) or first
        return self.modules[-1] if self.modules else ""


def _path(name: str) -> str:
    return name.rpartition(".")[0]


def _tensors(value: object) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


def _new_bytes(data: list[Tensor], made: list[Tensor]) -> int:
    """Bytes of the outputs that do not lie in an input's memory, each piece of memory once."""
    taken = {id(tensor.untyped_storage()) for tensor in data}
    fresh = {id(tensor.untyped_storage()): tensor for tensor in made}
    return sum(tensor.nbytes for memory, tensor in fresh.items() if memory not in taken)
