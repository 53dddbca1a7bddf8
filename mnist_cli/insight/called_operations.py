"""Watches the operations that a network calls in one forward pass, in modules or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

See = Callable[[str, tuple[Any, ...], Mapping[str, Any], Any], None]
"""Called after each operation with its function's name, arguments and result."""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and back into the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def watch_forward(model: nn.Module, images: Tensor, see: See) -> None:
    """Run a network in evaluation mode and call ``see`` after each operation, in order.

    Of operations that call each other, only the outermost is reported. No gradient is computed.

    Args:
        model: a network that is not compiled.
        images: (N, C, H, W), float, normalised, on the network's device.
        see: called after every operation.
    """
    with evaluation_mode(model), torch.no_grad(), _Watch(see):
        model(images)


class _Watch(TorchFunctionMode):
    """Reports every call of a torch function that no other torch function makes."""

    def __init__(self, see: See) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._see(getattr(func, "__name__", ""), args, kwargs or {}, result)
        return result
