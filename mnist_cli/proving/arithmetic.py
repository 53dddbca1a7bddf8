"""One product, one convolution and one backward pass, against float64 on the CPU.

The unit of error is the type's rounding times the sum of the absolute terms. In this unit, the
error of a sum of n products is at most n, in any order of summation (Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cli.base.seeding import derive
from mnist_cli.devices.device import compute_settings, computes_bf16
from mnist_cli.proving.claims import Claims, Outcome, Subject


@dataclass(frozen=True)
class Arithmetic:
    """A number format of a device.

    Attributes:
        name: its usual name.
        dtype: the type of the operands.
        bits: significant bits that a product keeps, the leading one included.
        roundings: units of error besides the sum's. One for the result. 8 if partial sums may be
            rounded too, as in cuBLAS (``allow_bf16_reduced_precision_reduction``). 4 for TF32,
            which may truncate both operands.
        exact: whether float32 operations must keep all their bits, without TF32.
    """

    name: str
    dtype: torch.dtype
    bits: int
    roundings: int
    exact: bool = True

    @property
    def unit(self) -> float:
        """The largest relative error of one rounding."""
        return 2.0**-self.bits

    def limit(self, terms: int) -> float:
        """The largest error of a sum of ``terms`` products, in this format's units."""
        return self.roundings + terms * 2.0**-24 / self.unit  # sums are in float32


FP32 = Arithmetic("fp32", torch.float32, 24, roundings=1)
TF32 = Arithmetic("tf32", torch.float32, 11, roundings=4, exact=False)
BF16 = Arithmetic("bf16", torch.bfloat16, 8, roundings=8)
FP16 = Arithmetic("fp16", torch.float16, 11, roundings=8)


def formats(device: torch.device) -> tuple[Arithmetic, ...]:
    """The formats to check on a device."""
    if device.type != "cuda":
        return (FP32, BF16)
    return (FP32, TF32, BF16, FP16) if computes_bf16(device) else (FP32, FP16)


@dataclass(frozen=True)
class Operation:
    """A function of two operands; ``terms`` is the number of terms in a sum, for each result."""

    name: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    compute: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    terms: tuple[int, ...]


def _product(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return (a @ b,)


def _convolution(images: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return (F.conv2d(images, weight),)


def _backward(images: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the sum of a convolution's output."""
    images, weight = images.detach().requires_grad_(), weight.detach().requires_grad_()
    return torch.autograd.grad(F.conv2d(images, weight).sum(), (images, weight))


IMAGES, WEIGHT = (16, 32, 14, 14), (64, 32, 3, 3)
OPERATIONS = (
    Operation("product", ((128, 512), (512, 256)), _product, (512,)),
    Operation("convolution", (IMAGES, WEIGHT), _convolution, (32 * 9,)),
    Operation("backward pass", (IMAGES, WEIGHT), _backward, (64 * 9, 16 * 12 * 12)),
)


def claims(subject: Subject) -> Claims:
    """A claim for each operation and format."""
    return {
        f"{operation.name} in {arithmetic.name} against float64": partial(
            measure, operation, arithmetic, subject.device
        )
        for arithmetic in formats(subject.device)
        for operation in OPERATIONS
    }


def measure(operation: Operation, arithmetic: Arithmetic, device: torch.device) -> Outcome:
    """The largest error of one operation in one format, relative to its limit."""
    operands = [_operand(shape, arithmetic, i) for i, shape in enumerate(operation.shapes)]
    exact = operation.compute(*operands)
    scale = operation.compute(*(operand.abs() for operand in operands))
    with compute_settings(device, deterministic=arithmetic.exact):
        found = operation.compute(*(o.to(device, arithmetic.dtype) for o in operands))
    errors = [_units(*of, unit=arithmetic.unit) for of in zip(found, exact, scale, strict=True)]
    limits = [arithmetic.limit(terms) for terms in operation.terms]
    error, limit = max(zip(errors, limits, strict=True), key=lambda pair: pair[0] / pair[1])
    return Outcome(
        passed=error <= limit,
        figure=f"error {error:.2g} roundings, at most {limit:.3g}",
        values={"error_roundings": error, "limit_roundings": limit},
    )


def _operand(shape: tuple[int, ...], arithmetic: Arithmetic, number: int) -> Tensor:
    """Normally distributed numbers, in float64, that the format represents exactly."""
    generator = torch.Generator().manual_seed(derive(0, "proof-operand", number))
    values = torch.randn(shape, generator=generator)
    return values.to(arithmetic.dtype).double()


def _units(found: Tensor, exact: Tensor, scale: Tensor, *, unit: float) -> float:
    """The largest error in units of ``unit`` times ``scale``; infinity if an entry is NaN."""
    error = ((found.cpu().double() - exact).abs() / (unit * scale)).max().item()
    return error if error == error else float("inf")
