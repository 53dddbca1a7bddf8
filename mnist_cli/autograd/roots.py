"""Where a backward pass starts: the root of a walk and the gradient that arrives there."""

from __future__ import annotations

import torch
from torch import Tensor

from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import check_kind
from mnist_cli.autograd.torch_private import is_transformed
from mnist_cli.autograd.walking import Walk


def root_tensor(walked: Walk) -> Tensor:
    """The tensor that the walk started from.

    Raises:
        UsageError: the walk started from a node, or its tensor has another graph since.
        TypeError: it is not a walk.
    """
    check_kind(walked, Walk, "walk(loss) makes one")
    if isinstance(walked.root, Tensor):
        if is_transformed(walked.root):
            raise UsageError(
                "a backward pass cannot run inside a transform of torch.func, such as grad",
                "Inspect the loss outside the transform.",
            )
        walked.check_current()
        return walked.root
    raise UsageError(
        "this walk started from a node, but a backward pass starts from a tensor",
        "Walk from the tensor itself.",
    )


def seed_of(root: Tensor, grad: Tensor | None) -> Tensor:
    """The gradient that backward starts with, of the root's shape.

    Args:
        root: a tensor of any shape.
        grad: of the same shape; None is ones, for a root with one entry.

    Raises:
        UsageError: the gradient is missing, has another shape or device, or is complex for a real
            root or real for a complex one.
        TypeError: it is not a tensor.
    """
    if grad is None and root.numel() != 1:
        raise UsageError(
            f"a root of shape {tuple(root.shape)} needs a gradient of that shape to start from",
            "Give one, or walk from a scalar such as a loss.",
        )
    if grad is None:
        return torch.ones_like(root, memory_format=torch.preserve_format).detach()
    if not isinstance(grad, Tensor):
        raise TypeError(f"the gradient must be a tensor, not a {type(grad).__name__}")
    if grad.is_complex() != root.is_complex():
        kinds = ("complex", "real") if grad.is_complex() else ("real", "complex")
        raise UsageError(
            f"a {kinds[0]} gradient ({grad.dtype}) does not fit a {kinds[1]} root ({root.dtype})",
            "Give its real part." if grad.is_complex() else f"Convert it to {root.dtype}.",
        )
    if grad.shape != root.shape:
        raise UsageError(
            f"a gradient of shape {tuple(grad.shape)} does not fit the root",
            f"Its shape is {tuple(root.shape)}.",
        )
    if grad.device != root.device and grad.dim():
        raise UsageError(
            f"a gradient on {grad.device} does not fit a root on {root.device}",
            f"Move it to {root.device}.",
        )
    return grad.detach().clone()  # a Function may change in place what arrives
