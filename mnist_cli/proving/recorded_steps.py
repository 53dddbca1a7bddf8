"""A stand-in for CUDA graphs on any device: records operations and repeats them on the same memory.

As with a CUDA graph, a replay runs no Python of the recorded function: numbers keep their values,
and tensors their memory. As in a capture, the recorded operations have no effect before the
replay, and reading a value back is an error.
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
"""Operations that make the host wait for a GPU."""

WRITES_UNSAID = {aten.native_batch_norm.default: {"running_mean", "running_var"}}
"""Arguments that an operation writes to, although its schema does not say so."""


@dataclass
class Call:
    """One operation with its arguments and results."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Tensor]


class NoReads(TorchDispatchMode):
    """A context that raises RuntimeError on operations that make the host wait for a GPU.

    ``Tensor.tolist`` and ``Tensor.numpy`` read the CPU's memory without an operation, so it does
    not see them there.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, unless it reads a value back."""
        if func in READ_BACK or _boolean_index(func, args):
            raise RuntimeError(f"{func} reads a value back to the host")
        return func(*args, **(kwargs or {}))


class Recorder(NoReads):
    """Records every call, and the previous content of the memory that calls write to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func`` and record it."""
        kwargs = kwargs or {}
        self._save_written(func, args, kwargs)
        out = super().__torch_dispatch__(func, types, args, kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not func.is_view:
            self._own |= {_place(result) for result in results}
        self.calls.append(Call(func, args, kwargs, results))
        return out

    def _save_written(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        arguments = func._schema.arguments
        given = {a.name: value for a, value in zip(arguments, args, strict=False)} | kwargs
        written = {a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write}
        for name in written | WRITES_UNSAID.get(func, set()):
            for tensor in tree_leaves(given.get(name)):
                if isinstance(tensor, Tensor) and _place(tensor) not in self._own:
                    flat = _memory(tensor)
                    self._before.setdefault(_place(tensor), (flat, flat.clone()))

    def undo(self) -> None:
        """Restore the memory that the recorded calls wrote to."""
        with torch.no_grad():
            for memory, before in self._before.values():
                memory.copy_(before)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _memory(tensor: Tensor) -> Tensor:
    """The whole memory of a tensor and its views, as bytes (N,), uint8."""
    storage = tensor.untyped_storage()
    empty = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return empty.set_(storage, 0, (storage.nbytes(),), (1,))


def _boolean_index(func: Any, args: tuple[Any, ...]) -> bool:
    return func in {aten.index.Tensor, aten.index_put_.default} and any(
        index is not None and index.dtype == torch.bool for index in args[1]
    )


class RecordingCapturer:
    """Replaces :class:`mnist_cli.training.graphed.CudaCapturer`, and counts its calls."""

    def __init__(self) -> None:
        self.rehearsals = 0
        self.captured: list[int] = []
        self.replayed: list[int] = []

    def rehearse(self, function: Callable[[], None]) -> None:
        """See :meth:`mnist_cli.training.graphed.Capturer.rehearse`."""
        self.rehearsals += 1
        function()

    def capture(
        self, function: Callable[[], None], generator: torch.Generator
    ) -> Callable[[], None]:
        """See :meth:`mnist_cli.training.graphed.Capturer.capture`."""
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
