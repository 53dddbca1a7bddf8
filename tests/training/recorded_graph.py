"""What a CUDA graph does, on the CPU: operations recorded once, and done again on the same memory.

As a graph does, a replay runs no Python of the recorded function: a number that Python put into a
call stays what it was, and a tensor is the memory that it was. As in a capture, nothing has been
done when recording ends, and reading a figure back is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

READ_BACK = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
}
"""What a GPU would have to be waited for."""

WRITES_UNSAID = {aten.native_batch_norm.default: {"running_mean", "running_var"}}
"""Arguments that are written to, though the operation's schema does not say so."""


@dataclass
class Call:
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Tensor]


class Recorder(TorchDispatchMode):
    """Keeps every call, and what the memory that calls write to held before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in READ_BACK or _boolean_index(func, args):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        self._keep_what_is_written(func, args, kwargs)
        out = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not func.is_view:
            self._own |= {_place(result) for result in results}
        self.calls.append(Call(func, args, kwargs, results))
        return out

    def _keep_what_is_written(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        arguments = func._schema.arguments
        given = {a.name: value for a, value in zip(arguments, args, strict=False)} | kwargs
        written = {a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write}
        for name in written | WRITES_UNSAID.get(func, set()):
            for tensor in tree_leaves(given.get(name)):
                if isinstance(tensor, Tensor) and _place(tensor) not in self._own:
                    flat = _memory(tensor)
                    self._before.setdefault(_place(tensor), (flat, flat.clone()))

    def undo(self) -> None:
        with torch.no_grad():
            for memory, before in self._before.values():
                memory.copy_(before)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _memory(tensor: Tensor) -> Tensor:
    """All the memory that a tensor is a view of, as bytes."""
    storage = tensor.untyped_storage()
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),))


def _boolean_index(func: Any, args: tuple[Any, ...]) -> bool:
    return func in {aten.index.Tensor, aten.index_put_.default} and any(
        index is not None and index.dtype == torch.bool for index in args[1]
    )


class RecordingCapturer:
    """Stands in for :class:`mnist_cli.training.graphed.CudaCapturer`; counts what it is asked."""

    def __init__(self) -> None:
        self.rehearsals = 0
        self.captured: list[int] = []
        self.replayed: list[int] = []

    def rehearse(self, function: Callable[[], None]) -> None:
        self.rehearsals += 1
        function()

    def capture(
        self, function: Callable[[], None], generator: torch.Generator
    ) -> Callable[[], None]:
        drawn = torch.get_rng_state(), generator.get_state()
        recorder = Recorder()
        with recorder:
            function()
        recorder.undo()
        torch.set_rng_state(drawn[0])
        generator.set_state(drawn[1])
        number = len(self.captured)
        self.captured.append(len(recorder.calls))

        def replay() -> None:
            self.replayed.append(number)
            _do_again(recorder.calls)

        return replay


@torch.no_grad()
def _do_again(calls: list[Call]) -> None:
    for call in calls:
        if call.func.is_view:
            continue
        out = call.func(*call.args, **call.kwargs)
        again = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for result, new in zip(call.results, again, strict=True):
            if _place(result) != _place(new):
                result.detach().copy_(new)
