"""Whether weights from a file are those of a network, and what differs if not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.networks import ensemble

LISTED = 8
"""Differences that one message names."""

Weights = Mapping[str, Tensor]


def check_weights(
    path: Path,
    model: str,
    classes: int,
    weights: Weights,
    members: int = 1,
    changes: tuple[str, ...] = (),
) -> None:
    """Compare names, shapes and types with a fresh network's, and refuse what is not finite.

    Raises:
        CheckpointError: they differ; the differences are listed.
    """
    try:
        expected = ensemble.expected_weights(model, classes, members)
    except UsageError as error:
        if ModelName(model).is_own:
            raise
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error
    differences = _differences(expected, weights)
    if differences:
        more = len(differences) - LISTED
        listed = "; ".join(differences[:LISTED]) + (f"; and {more} more" if more > 0 else "")
        since = f" ({'; '.join(changes)})" if changes else ""
        raise CheckpointError(
            f"{path} does not fit the network '{ModelName(model).label}'{since}: {listed}"
        )
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{path}: weight '{name}' holds NaN or infinity",
                "Take an earlier checkpoint, or train again with a lower learning rate.",
            )


def _differences(expected: Weights, found: Weights) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in found]
    extra = [f"{name} is not part of it" for name in found if name not in expected]
    wrong = [
        f"{name} has {tuple(found[name].shape)} {_dtype(found[name])}, "
        f"not {tuple(tensor.shape)} {_dtype(tensor)}"
        for name, tensor in expected.items()
        if name in found
        and (found[name].shape != tensor.shape or found[name].dtype != tensor.dtype)
    ]
    return missing + extra + wrong


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
