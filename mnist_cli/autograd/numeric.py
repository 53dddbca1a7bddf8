"""Gradients held against central differences in float64, entry by sampled entry.

Knows a loss to evaluate and the tensors it depends on, not graphs or data.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_cli.autograd.bits import without_values
from mnist_cli.autograd.brief import Brief, shortened
from mnist_cli.autograd.error_tree import NonFiniteError, UsageError
from mnist_cli.autograd.graph import check_counts, check_kind

STEP = 1e-5
"""Relative step. With one extrapolation, the error is its fourth power, below float64's rounding."""


@dataclass(frozen=True)
class EntryCheck:
    """One entry: its place, autograd's gradient, the numeric one, and whether a kink is near.

    ``error`` is relative to the larger of the two, or to a millionth of the parameter's largest
    gradient if both are smaller. The part due to the loss's rounding is subtracted: a bias
    before a batch norm has a gradient of exactly zero, and differences of a few 1e-11. ``error``
    is infinite if autograd's gradient is not finite. If the difference is not finite, as at the
    edge of a logarithm's domain, the entry counts as a kink.
    """

    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    kink: bool


@dataclass(frozen=True)
class GradientCheck:
    """A parameter's sampled entries.

    ``worst`` is the entry with the largest error among those without a nearby kink; None if
    there is none. ``kinks`` is the number of other entries. There, the derivative does not exist
    within the step (ReLU at zero, two equal entries of a maximum): differences cannot check it.
    """

    name: str
    entries: tuple[EntryCheck, ...]

    def __repr__(self) -> str:
        entries = f"{len(self.entries)} entries, {self.kinks} at kinks"
        return f"GradientCheck({shortened(self.name)}: {entries}, error {self.worst_error:.3g})"

    @property
    def smooth(self) -> tuple[EntryCheck, ...]:
        """The entries that can be judged."""
        return tuple(entry for entry in self.entries if not entry.kink)

    @property
    def kinks(self) -> int:
        """How many entries cannot be judged."""
        return len(self.entries) - len(self.smooth)

    @property
    def worst(self) -> EntryCheck | None:
        """The judged entry with the largest error."""
        return max(self.smooth, key=lambda entry: entry.error, default=None)

    @property
    def worst_error(self) -> float:
        """The largest error of a judged entry; 0 if none can be judged."""
        return self.worst.error if self.worst else 0.0


@torch.inference_mode(False)  # grad mode is on, even if the caller's is off
def gradcheck(
    loss: Callable[[], Tensor],
    parameters: Mapping[str, Tensor],
    *,
    samples: int = 10,
    seed: int = 0,
) -> tuple[GradientCheck, ...]:
    """Compare autograd's gradient with central differences at sampled entries.

    Each evaluation starts from the same random state, so that dropout drops the same units.
    The numeric derivative is extrapolated from steps h and h/2 (Richardson). An entry is reported
    as a kink if its one-sided slopes do not converge as the step is halved.

    Args:
        loss: evaluates the scalar loss () from the parameters as they are.
        parameters: float64 or complex128 leaves by name; changed during the check, and restored.
            The real and the imaginary part of an entry are checked separately; the last index
            names the part. Other changes by the loss, such as to batch norm's buffers, remain.
        samples: entries of each parameter, or all if it has fewer.
        seed: chooses the entries, and is the random state of each evaluation.

    Returns:
        One check for each parameter that requires a gradient, in their order.

    Raises:
        UsageError: a parameter or the loss has fewer bits than float64; a parameter is sparse,
            expanded or without values; or the loss is not a real scalar, depends on no parameter,
            or differs when evaluated twice.
        NonFiniteError: the loss is not finite.
        TypeError: the loss is not a tensor, or the parameters are not tensors in a mapping.
    """
    check_kind(parameters, Mapping, "dict(model.named_parameters()) is one")
    leaves = {name: leaf for name, leaf in parameters.items() if _is_checked(name, leaf)}
    check_counts(samples=samples)
    _check_leaves(leaves)
    cuda = {leaf.device.index or 0 for leaf in leaves.values() if leaf.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(cuda)):
        evaluate = _Evaluation(loss, seed)
        gradients = _analytic(evaluate, leaves)
        return Brief(
            _check(name, leaf, gradients[name], evaluate, samples, seed + number)
            for number, (name, leaf) in enumerate(leaves.items())
        )


@dataclass(frozen=True)
class _Evaluation:
    loss: Callable[[], Tensor]
    seed: int

    def tensor(self) -> Tensor:
        torch.manual_seed(self.seed)
        value = self.loss()
        if not isinstance(value, Tensor):
            raise TypeError(f"the loss must be a tensor, not a {type(value).__name__}")
        if value.numel() != 1:
            raise UsageError(
                f"the loss has shape {tuple(value.shape)}, but must be a scalar",
                "Use its sum or its mean.",
            )
        if value.is_complex():
            raise UsageError("the loss is complex, but must be real", "Use its real part.")
        return value

    def number(self) -> float:
        with torch.no_grad():
            return float(self.tensor().double())


def _is_checked(name: str, leaf: object) -> bool:
    if not isinstance(leaf, Tensor):
        raise TypeError(f"parameters[{name!r}] must be a tensor, not a {type(leaf).__name__}")
    return leaf.requires_grad


def _check_leaves(leaves: Mapping[str, Tensor]) -> None:
    if not leaves:
        raise UsageError("no parameter requires a gradient", "Call requires_grad_() on one.")
    for name, leaf in leaves.items():
        _require_float64(name, leaf, "Convert the model and its input first: model.double().")
        if without_values(leaf) or not _is_plain(leaf):
            dense = "to_padded_tensor(0)" if leaf.is_nested else "to_dense().clone()"
            raise UsageError(
                f"the entries of {name} cannot be changed one at a time, as differences need",
                "Give it values, on a CPU or a GPU."
                if without_values(leaf)
                else "Check a dense copy, and compute the loss from it: "
                f"{name}.detach().{dense}.requires_grad_().",
            )


def _is_plain(leaf: Tensor) -> bool:
    """Whether each entry has a place of its own in memory."""
    if leaf.layout != torch.strided or leaf.is_nested or leaf.is_conj():
        return False
    return all(size == 1 or step for size, step in zip(leaf.shape, leaf.stride(), strict=True))


def _require_float64(name: str, tensor: Tensor, hint: str) -> None:
    if tensor.dtype not in {torch.float64, torch.complex128}:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UsageError(
            f"{name} is {kind}: differences in {kind} are mostly rounding errors", hint
        )


def _analytic(evaluate: _Evaluation, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    value = evaluate.tensor()
    if not value.requires_grad:
        raise UsageError(
            "the loss depends on none of the parameters",
            "Compute it from them, without detach() or no_grad().",
        )
    _require_float64(
        "the loss", value, "Compute it in float64, without conversions such as float()."
    )
    if not value.isfinite():
        raise NonFiniteError(
            f"the loss is {value.item()}: differences cannot check it",
            "`mnist inspect-grad`, or inspect(loss, model) in Python, names the first node that is not "
            "finite.",
        )
    if float(value.detach().double()) != evaluate.number():
        raise UsageError(
            "the loss is not the same when evaluated twice: differences cannot check it",
            "Use only torch's random generators in it, and no state such as counters. If layers such "
            "as spectral_norm change their state in training mode, use --eval, or model.eval() in "
            "Python.",
        )
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad.detach().to_dense()
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }


def _check(
    name: str, leaf: Tensor, gradient: Tensor, evaluate: _Evaluation, samples: int, seed: int
) -> GradientCheck:
    leaf, gradient = _real(leaf.data), _real(gradient)
    generator = torch.Generator("cpu").manual_seed(seed)
    order = torch.randperm(leaf.numel(), generator=generator, device="cpu")
    places = order[:samples].sort().values.tolist()
    largest = float(gradient.abs().max()) if gradient.numel() else 0.0
    entries = tuple(_entry(leaf, gradient, place, largest, evaluate) for place in places)
    return GradientCheck(name, entries)


def _real(tensor: Tensor) -> Tensor:
    """Complex entries as pairs in the last dimension: torch's gradient has the slope of each."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _entry(
    leaf: Tensor, gradient: Tensor, place: int, largest: float, evaluate: _Evaluation
) -> EntryCheck:
    index = tuple(
        int(i) for i in torch.unravel_index(torch.tensor(place, device="cpu"), leaf.shape)
    )
    analytic = float(gradient[index])
    step = STEP * max(1.0, abs(float(leaf[index])))
    wide = _slopes(leaf, index, step, evaluate)
    near = _slopes(leaf, index, step / 2, evaluate)
    numeric = (4 * near.central - wide.central) / 3
    scale = max(abs(analytic), abs(numeric), 1e-6 * largest)
    kink = not math.isfinite(numeric) or _is_kink(wide, near, scale)
    gap = abs(analytic - numeric) - near.rounding
    error = max(gap / scale, 0.0) if scale and math.isfinite(gap) else 0.0
    return EntryCheck(
        index, analytic, numeric, error if math.isfinite(analytic) else math.inf, kink
    )


@dataclass(frozen=True)
class _Slopes:
    """The slopes to the right and to the left of a point, and what rounding may add to them."""

    right: float
    left: float
    rounding: float

    @property
    def central(self) -> float:
        return (self.right + self.left) / 2

    @property
    def jump(self) -> float:
        return abs(self.right - self.left)


def _slopes(data: Tensor, index: tuple[int, ...], step: float, evaluate: _Evaluation) -> _Slopes:
    before = float(data[index])
    try:
        middle = evaluate.number()
        data[index] = before + step
        right = evaluate.number()
        data[index] = before - step
        left = evaluate.number()
    finally:
        data[index] = before
    largest = max(abs(middle), abs(right), abs(left))
    return _Slopes(
        (right - middle) / step, (middle - left) / step, 8 * sys.float_info.epsilon * largest / step
    )


def _is_kink(wide: _Slopes, near: _Slopes, scale: float) -> bool:
    """Whether there is a kink: without one, the jump between one-sided slopes halves with the step.

    At a kink, the jump stays. With a kink between the two steps, it vanishes at once: the central
    slopes then differ by far more than a smooth function's curvature allows.
    """
    noise = wide.rounding + near.rounding
    stays = near.jump > 0.75 * wide.jump + noise and near.jump > 1e-3 * scale
    moves = abs(wide.central - near.central) > 1e-4 * scale + noise
    return stays or moves
