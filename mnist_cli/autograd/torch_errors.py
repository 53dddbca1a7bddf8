"""Turns torch's errors of a backward pass into ours, with the cause and what to do.

Errors that the user's own code raises, in a hook or in a Function, are not changed.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NoReturn

import torch
from torch.utils.checkpoint import CheckpointError

from mnist_cli.autograd.error_tree import UsageError

_INSIDE = (str(Path(torch.__file__).parent), str(Path(__file__).parent))

_KNOWN = (
    (
        "modified by an inplace operation",
        "a tensor that it saved was overwritten in place",
        "Replace the in-place operation, such as +=, with one that makes a new tensor. If an "
        "optimiser has stepped since, run the forward pass again.",
    ),
    (
        "donated buffers",
        "a compiled function gives its memory away in its first run",
        "Set torch._functorch.config.donated_buffer = False before it is compiled.",
    ),
)


_SAME = "loss.backward() meets the same error, with torch's traceback."
_BY_HAND = "A call by hand runs no hooks, such as those that gather a sharded model's weights."


def explain(what: str, error: RuntimeError, *, by_hand: bool = False) -> NoReturn:
    """Turn torch's errors of a backward pass into ours, and raise all others again.

    Args:
        what: the node, or the pass.
        error: torch's.
        by_hand: whether the node was called outside of the engine, which may then succeed.

    Raises:
        UsageError: the graph was freed, a saved tensor was overwritten, the graph runs only once,
            or torch refuses the pass for another reason.
        RuntimeError: the error as it is, if the user's code raised it or memory ran out.
    """
    text = str(error)
    if "freed" in text:
        raise freed(what) from error
    for sign, cause, way_out in _KNOWN:
        if sign in text:
            raise UsageError(f"{what} cannot run: {cause}", way_out) from error
    if isinstance(error, CheckpointError):
        raise UsageError(
            f"{what} cannot run: a checkpoint computes other tensors than in its forward pass",
            "Make the checkpointed function compute the same each time it is called.",
        ) from error
    if _is_refusal(error, text):
        raise UsageError(
            f"{what} cannot run: {text.strip().splitlines()[0]}", _BY_HAND if by_hand else _SAME
        ) from error
    raise error


def _is_refusal(error: RuntimeError, text: str) -> bool:
    """Whether torch itself raised an error that is about the graph, not about the machine."""
    if type(error) not in (RuntimeError, NotImplementedError) or not text.strip():
        return False
    if "memory" in text or "CUDA error" in text:
        return False
    return _raised_in(error.__traceback__).startswith(_INSIDE)


def _raised_in(traceback: TracebackType | None) -> str:
    """The file of the innermost frame."""
    file = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next
    return file


def freed(what: str) -> UsageError:
    """The error for a graph whose saved tensors are gone."""
    return UsageError(
        f"the graph was already freed: {what} no longer has its saved tensors",
        "Run the forward pass again, or keep the graph with backward(retain_graph=True). If a "
        "state is carried from step to step, detach() it after each step.",
    )
