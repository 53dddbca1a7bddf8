"""What each call of a module took and gave, collected while the forward pass runs.

Knows modules and tensors, not graphs; :mod:`mnist_cli.autograd.tracing` says when a call begins
and ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnist_cli.autograd import torch_private
from mnist_cli.autograd.bits import shape_of, tensors_in, without_values
from mnist_cli.autograd.graph import ModuleCall, Saved, TensorMeta
from mnist_cli.autograd.node import dtype_name
from mnist_cli.autograd.stats import StatsCollector

MAX_SPREAD = 16_000_000
"""Entries up to which a sparse or expanded output has statistics: 128 MiB as float64."""


@dataclass
class CallLog:
    """The calls so far, in the order in which they began.

    Holds copies of activations only until their statistics are computed; see
    :class:`StatsCollector`. ``fresh`` maps a call's place to the parameters that it is the first to
    use.
    """

    fresh: dict[int, list[nn.Parameter]] = field(default_factory=dict)
    _calls: list[ModuleCall] = field(default_factory=list)
    _figures: dict[int, int] = field(default_factory=dict)
    _earlier: Counter[str] = field(default_factory=Counter)
    _counted: set[int] = field(default_factory=set)
    _collector: StatsCollector = field(default_factory=StatsCollector)

    def begin(self, module: nn.Module, path: str, depth: int, taken: object) -> int:
        """A call begins with these arguments; returns its place."""
        kind, call = type(module).__name__, self._earlier[path]
        self._earlier[path] += 1
        self._calls.append(ModuleCall(path, kind, call, depth, _metas(tensors_in(taken))))
        return len(self._calls) - 1

    def end(self, place: int, group: Sequence[nn.Module], given: object) -> None:
        """It ends.

        Args:
            place: of the call.
            group: the module, and the submodules whose calls are not seen.
            given: the result; None if it raised an error.
        """
        outputs = list(tensors_in(given))
        if outputs:
            self._take(place, outputs[0])
        self.fresh[place] = self._fresh(group)
        # A lazy module becomes another class in its first call.
        self._calls[place] = replace(
            self._calls[place],
            kind=type(group[0]).__name__,
            outputs=_metas(outputs),
            parameters=sum(one.numel() for one in self.fresh[place]),
        )

    def calls(self) -> tuple[ModuleCall, ...]:
        """All calls with their statistics; waits for the device."""
        found = self._collector.results()
        figures = {place: found[number] for place, number in self._figures.items()}
        return tuple(replace(c, activation=figures.get(i)) for i, c in enumerate(self._calls))

    def _take(self, place: int, output: Tensor) -> None:
        if _is_captured(output):
            return  # the statistics would become a part of the program
        try:
            with torch.no_grad(), torch_private.without_modes():
                if not (without_values(output) or _spreads(output)):
                    self._figures[place] = self._collector.add_now(output)
        except Exception:  # a subclass may refuse any question, and the model must go on
            return

    def _fresh(self, group: Sequence[nn.Module]) -> list[nn.Parameter]:
        """The parameters of these modules that no earlier call used."""
        every = nn.Module.named_parameters  # a subclass may have another method of that name
        own = {id(one): one for module in group for _, one in every(module, recurse=False)}
        fresh = [one for one in own.values() if not is_lazy(one) and id(one) not in self._counted]
        self._counted.update(map(id, fresh))  # `fresh` holds them, so that no other gets their ids
        return fresh


def _spreads(tensor: Tensor) -> bool:
    """Whether its entries would take far more memory than it has: sparse or expanded, and large."""
    if tensor.is_nested or tensor.numel() <= MAX_SPREAD:
        return False
    if tensor.layout != torch.strided:
        return True
    return tensor.numel() * tensor.element_size() > 2 * tensor.untyped_storage().nbytes()


def _metas(tensors: Iterable[Tensor]) -> tuple[TensorMeta, ...]:
    return tuple(TensorMeta(shape_of(one) or (), dtype_name(one.dtype)) for one in tensors)


def with_saved_bytes(
    calls: Sequence[ModuleCall],
    nodes: Iterable[tuple[int | None, Sequence[Saved]]],
    own: AbstractSet[int],
) -> tuple[ModuleCall, ...]:
    """The calls with the memory that the nodes made by each keep for backward.

    Args:
        calls: of the forward pass.
        nodes: the place of its call and the saved tensors of each node, in the forward order.
        own: numbers of the storages that are the model's own.
    """
    known = set(own)
    bytes_of = dict.fromkeys(range(len(calls)), 0)
    for call, kept in nodes:
        fresh = {one.storage: one.bytes for one in kept if one.storage not in known}
        known.update(fresh)
        if call is not None:
            bytes_of[call] += sum(fresh.values())
    return tuple(replace(call, saved_bytes=bytes_of[i]) for i, call in enumerate(calls))


def _is_captured(tensor: Tensor) -> bool:
    """Whether what a tensor of any shape gives now enters a CUDA graph or a scripted program."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
