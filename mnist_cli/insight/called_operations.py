"""One forward, watched: every operation that a network calls, whether or not a module makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

See = Callable[[str, tuple[Any, ...], Mapping[str, Any], Any], None]
"""What is told of each operation, after it: its function's name, arguments and result."""


def watch_forward(model: nn.Module, images: Tensor, see: See) -> None:
    """Run a network on images (N, C, H, W) and tell ``see`` of each operation, in order.

    Of operations that call each other the outermost is told alone. The network is put into
    evaluation mode and back into the mode it was in; no gradient flows.

    Args:
        model: a network that is not compiled.
        images: float, normalised, where the network's weights are.
        see: called after every operation.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _Watch(see):
            model(images)
    finally:
        model.train(was_training)


class _Watch(TorchFunctionMode):
    """Sees every call of a torch function, the outermost of those that call each other."""

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
