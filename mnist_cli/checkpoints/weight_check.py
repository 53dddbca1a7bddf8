"""Checks that weights from a file belong to a network, and lists the differences if they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mnist_cli.checkpoints.contents import Unread, safe_text
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.networks import ensemble

LISTED = 8
"""Maximum number of differences that a message lists."""

Weights = Mapping[str, Tensor]


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """The first items of a list for a message, and the number of further items."""
    more = len(items) - LISTED
    return separator.join(items[:LISTED]) + (f"{separator}… and {more:,} more" if more > 0 else "")


def named_tensors(state: object) -> Weights:
    """The object as weights: dense tensors on the CPU by name.

    Raises:
        TypeError: the object is something else; the message names the part.
    """
    if not isinstance(state, Mapping) or not state:
        raise TypeError("there are no weights")
    for name, tensor in state.items():
        if isinstance(tensor, Unread):
            raise TypeError(f"{safe_text(str(name))} is a {tensor!r}")
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(f"{safe_text(repr(name))} is not a named tensor")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise TypeError(f"{safe_text(name)} is a tensor without plain memory")
    return state


def averaged_weights(state: object) -> Weights:
    """The weights inside the state of an AveragedModel.

    Raises:
        TypeError: as :func:`named_tensors`.
    """
    weights = dict(named_tensors(state))
    weights.pop("n_averaged", None)
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def check_weights(
    path: Path,
    model: str,
    classes: int,
    weights: Weights,
    members: int = 1,
    changes: tuple[str, ...] = (),
) -> None:
    """Compare names, shapes and dtypes with a fresh network's, and refuse non-finite weights.

    Args:
        path: the file, for messages.
        model: the network's name.
        classes: number of classes.
        weights: tensors by name.
        members: number of networks in the ensemble.
        changes: how the source of a user's own network has changed, for messages.

    Raises:
        CheckpointError: they differ; the message lists the differences.
    """
    try:
        expected = ensemble.expected_weights(model, classes, members)
    except UsageError as error:
        if ModelName(model).is_own:
            raise
        raise CheckpointError(f"{path}: {error.message}", error.hint) from error
    differences = _differences(expected, weights)
    if differences:
        since = f" ({'; '.join(changes)})" if changes else ""
        raise CheckpointError(
            f"{path} does not fit the network '{ModelName(model).label}'{since}: "
            + listed(differences, "; "),
            "Restore the source." if changes else _hint(expected, weights),
        )
    if name := not_finite(weights, expected):
        raise CheckpointError(
            f"{path}: weight '{name}' holds NaN or infinity",
            "Use an earlier checkpoint, or train again with a lower learning rate.",
        )


def not_finite(weights: Weights, fresh: Weights) -> str:
    """The first weight with a NaN or infinity that is not in the fresh weight; empty if none.

    Of NaN, inf and -inf, those that the fresh weight holds, such as a mask's -inf, are allowed at
    any place of the weight.

    Args:
        weights: tensors by name.
        fresh: weights of a fresh network, with values; or on the meta device, if all are finite.
    """
    for name, tensor in weights.items():
        wrong = ~tensor.isfinite()
        if not bool(wrong.any()):
            continue
        first = fresh[name]
        if not first.is_meta:
            for same in (torch.isnan, torch.isposinf, torch.isneginf):
                if not tensor.is_complex() and bool(same(first).any()):
                    wrong &= ~same(tensor)
            if tensor.is_complex() and not bool(first.isfinite().all()):
                continue
        if bool(wrong.any()):
            return name
    return ""


def _differences(expected: Weights, weights: Weights) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in weights]
    extra = [f"{safe_text(name)} is not part of it" for name in weights if name not in expected]
    wrong = [
        f"{name} has {tuple(weights[name].shape)} {dtype_name(weights[name])}, "
        f"not {tuple(tensor.shape)} {dtype_name(tensor)}"
        for name, tensor in expected.items()
        if name in weights
        and (weights[name].shape != tensor.shape or weights[name].dtype != tensor.dtype)
    ]
    return missing + extra + wrong


def _hint(expected: Weights, weights: Weights) -> str:
    shapes, others = ({k: w.shape for k, w in one.items()} for one in (expected, weights))
    if shapes == others:
        return "Save the weights in the types of the network, such as w.float()."
    return "If it holds another network, name that one; otherwise use another checkpoint."


def dtype_name(tensor: Tensor) -> str:
    """The type of a tensor of any shape, without its module: ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")
