"""Stops a run whose loss is no longer finite, before the step that would spoil the weights.

On the CPU, or with an optimiser that cannot skip a step, the loss is read at each step. On CUDA
every step would then wait for the device. There torch's fused optimisers and our Muon take a flag,
``found_inf``, and skip the step; the flag is read at the next reporting point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim import Optimizer

from mnist_cli.devices.kinds import kind_of, sum_dtype
from mnist_cli.errors import NonFiniteError
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.training.muon import Muon
from mnist_cli.training.ranks import ALONE, Ranks


def build_guard(
    device: torch.device, optimizers: Sequence[Optimizer], scaler: torch.amp.GradScaler
) -> Guard:
    """The cheapest guard: deferred on CUDA with optimisers that can skip a step, else immediate.

    With fp16 only the loss is judged: the scaler skips steps whose gradients overflow.
    """
    if scaler.is_enabled():
        return Guard(judge_gradient=False)
    skipping = all(o.defaults.get("fused") or isinstance(o, Muon) for o in optimizers)
    if kind_of(device).skips and skipping:
        return DeferredGuard(device, optimizers)
    return Guard()


class Guard:
    """Reads each step's loss () and gradient norm ().

    Args:
        judge_gradient: whether the gradient must be finite too.
    """

    def __init__(self, *, judge_gradient: bool = True) -> None:
        self._judge_gradient = judge_gradient

    def before_step(self, step: int | Tensor, loss: Tensor, grad_norm: Tensor) -> None:
        """Raise, or make the optimisers do nothing, if the loss or the norm is not finite.

        ``step`` counts from 0 over the run; in a captured step it is a tensor () on the device.

        Raises:
            NonFiniteError: a figure is not finite, and the guard reads them each step.
        """
        if not torch.isfinite(loss + grad_norm if self._judge_gradient else loss):
            raise _non_finite(int(step), loss.item(), grad_norm.item())

    def report(self) -> None:
        """Report a step that was skipped, if any; waits for the device.

        Raises:
            NonFiniteError: a step was skipped.
        """


class DeferredGuard(Guard):
    """Makes optimisers skip the bad step and all after it, and reports it later."""

    def __init__(self, device: torch.device, optimizers: Sequence[Optimizer]) -> None:
        self._found = torch.zeros((), device=device)
        self._dtype = sum_dtype(device)
        self._first = torch.zeros(3, dtype=self._dtype, device=device)
        for optimizer in optimizers:
            optimizer.found_inf = self._found  # type: ignore[attr-defined]
            optimizer.grad_scale = None  # type: ignore[attr-defined]

    def before_step(self, step: int | Tensor, loss: Tensor, grad_norm: Tensor) -> None:
        """See :meth:`Guard.before_step`; all tensors have the shape ()."""
        bad = (~torch.isfinite(loss + grad_norm)).float()
        first = bad * (1 - self._found)
        if not isinstance(step, Tensor):
            step = torch.full_like(loss, step, dtype=self._dtype)
        figures = torch.stack([one.to(self._dtype) for one in (step, loss, grad_norm)])
        self._first.copy_(torch.where(first.bool(), figures, self._first))
        self._found.copy_(torch.maximum(self._found, bad))

    def report(self) -> None:
        """See :meth:`Guard.report`.

        Raises:
            NonFiniteError: a step since the last report was not finite.
        """
        if self._found.item():
            step, loss, grad_norm = self._first.tolist()
            raise _non_finite(int(step), loss, grad_norm)


def _non_finite(step: int, loss: float, grad_norm: float) -> NonFiniteError:
    what = (
        f"the loss is {loss}"
        if not math.isfinite(loss)
        else f"the gradient's norm is {grad_norm} (the loss {loss:.4g})"
    )
    error = NonFiniteError(
        f"{what} at step {step + 1}; the step was not applied",
        "Lower the learning rate (lr), or clip the gradient (clip_norm = 1).",
    )
    error.step = step
    return error


def where_it_began(model: nn.Module, images: Tensor, ranks: Ranks = ALONE) -> str:
    """Describe the first module whose output is not finite, or else the first such gradient.

    Args:
        model: with the weights and the gradients of the bad step.
        images: its batch (B, 1, H, W), normalised, or this rank's part of it.
        ranks: the processes that share the run; all return the same.
    """
    names = [name for name, _ in model.named_modules()]
    if module := ranks.earliest(first_bad_module(model, images), names):
        return f"the first module whose output is not finite is '{module}'"
    finite = "the outputs of all modules are finite"
    backward = reversed(list(model.named_parameters()))
    largest = {name: float(p.grad.abs().max()) for name, p in backward if p.grad is not None}
    for name, value in largest.items():
        if not math.isfinite(value):
            return f"{finite}, the first gradient that is not belongs to '{name}'"
    if not largest:
        return finite
    return f"{finite}, the largest gradient belongs to '{max(largest, key=largest.__getitem__)}'"


def first_bad_module(model: nn.Module, images: Tensor) -> str:
    """Path of the first module whose output for images (N, C, H, W) is not finite; empty if all are.

    For an ensemble, the path is that of the first member with such a module.
    """
    if not isinstance(model, Ensemble):
        return _first_bad_module(model, images)
    names = (_first_bad_module(model.member(k), images) for k in range(model.size))
    return next((name for name in names if name), "")


@torch.no_grad()
def _first_bad_module(model: nn.Module, images: Tensor) -> str:
    names = {module: name for name, module in model.named_modules() if name}
    bad: list[str] = []
    if len(images) == 1:  # perhaps a rank's part; batch norm needs more than one
        images = images.expand(2, *images.shape[1:])

    def look(module: nn.Module, _inputs: object, output: object) -> None:
        finite = not isinstance(output, Tensor) or bool(output.isfinite().all())
        if module in names and not finite:
            bad.append(names[module])

    with register_module_forward_hook(look):
        model(images)
    return next(iter(bad), "")
