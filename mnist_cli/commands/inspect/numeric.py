"""``--gradcheck``: autograd's gradients held against central differences, in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnist_cli.errors import NumericsError

if TYPE_CHECKING:
    from mnist_cli.autograd.numeric import GradientCheck
    from mnist_cli.commands.inspect.subject import Subject

TOLERANCE = 1e-4
"""Relative error from which on autograd and the differences contradict each other. Sound
gradients of the registry's networks were seen to err by up to 7e-6 at entries judged smooth."""

BATCH = 8
"""Images where none are asked for: each entry costs four passes in float64."""


def check_gradients(subject: Subject, samples: int) -> tuple[GradientCheck, ...]:
    """Check sampled entries of every parameter, on a float64 copy of the network."""
    from mnist_cli.autograd.numeric import gradcheck
    from mnist_cli.devices.device import Precision

    model = copy.deepcopy(subject.model).double()
    double = replace(
        subject,
        model=model,
        images=subject.images.double(),
        precision=Precision("fp32", subject.device.type),
    )
    with subject.settings():
        return gradcheck(
            double.loss, dict(model.named_parameters()), samples=samples, seed=subject.seed
        )


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
    """Raise where autograd and the differences contradict each other.

    Raises:
        NumericsError: names the parameter with the largest error.
    """
    worst = max(checks, key=lambda check: check.worst_error)
    if worst.worst_error > TOLERANCE:
        entry = worst.worst
        figures = "" if entry is None else f" ({entry.analytic:.6g} and {entry.numeric:.6g})"
        raise NumericsError(
            f"the gradient of {worst.name} is {worst.worst_error:.2g} away from the central "
            f"difference, relatively{figures}"
        )
