"""A network's gradients checked against central differences, in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mnist_cli import autograd
from mnist_cli.autograd.numeric import GradientCheck
from mnist_cli.devices.device import Precision
from mnist_cli.errors import NumericsError
from mnist_cli.gradients.batch_loss import BatchLoss

TOLERANCE = 1e-4
"""Relative error above which autograd and the differences contradict each other. Sound
gradients of the registry's networks erred by up to 7e-6 at entries judged smooth."""


def check_gradients(batch: BatchLoss, samples: int) -> tuple[GradientCheck, ...]:
    """Check ``samples`` entries of every parameter, on a float64 copy of the network.

    Raises:
        UsageError, NonFiniteError: see :func:`mnist_cli.autograd.gradcheck`.
    """
    model = _in_float64(batch.model)
    double = replace(
        batch,
        model=model,
        images=batch.images.double(),
        precision=Precision("fp32", batch.device.type),
    )
    with batch.settings():
        return autograd.gradcheck(
            double.loss, dict(model.named_parameters()), samples=samples, seed=batch.seed
        )


def _in_float64(model: nn.Module) -> nn.Module:
    """A copy with float64 numbers, and complex128 ones, which ``double`` leaves as they are."""
    model = copy.deepcopy(model).double()
    for one in (*model.parameters(), *model.buffers()):
        if one.is_complex():
            one.data = one.data.to(torch.complex128)
    return model


def document(checks: Sequence[GradientCheck]) -> dict[str, Any]:
    """The checks as plain values."""
    return {
        "worst_error": max((check.worst_error for check in checks), default=0.0),
        "tolerance": TOLERANCE,
        "parameters": [
            {
                "name": check.name,
                "entries": len(check.entries),
                "kinks": check.kinks,
                "worst_error": check.worst_error,
            }
            for check in checks
        ],
    }


def require_close(checks: Sequence[GradientCheck]) -> None:
    """Refuse gradients that contradict the differences.

    Raises:
        NumericsError: names the parameter with the largest error.
    """
    worst = max(checks, key=lambda check: check.worst_error)
    if worst.worst_error > TOLERANCE:
        entry = worst.worst
        figures = "" if entry is None else f" ({entry.analytic:.6g} and {entry.numeric:.6g})"
        raise NumericsError(
            f"the gradient of {worst.name} differs from the central difference "
            f"by a relative error of {worst.worst_error:.2g}{figures}",
            "Check the backward of custom Functions, and operations without a derivative.",
        )
