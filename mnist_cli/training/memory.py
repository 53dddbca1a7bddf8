"""Turns a device's "out of memory" into one message that names a batch size to try."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from mnist_cli.errors import OutOfMemory

_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",  # CUDA outside torch's allocator, and MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@contextlib.contextmanager
def explain_out_of_memory(batch_size: int, key: str = "batch_size") -> Iterator[None]:
    """Raise :class:`OutOfMemory` for what torch raises when memory runs out inside.

    Args:
        batch_size: what the work inside goes by.
        key: the configuration's key for it.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _explained(batch_size, key, str(error)) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise _explained(batch_size, key, str(error)) from error


def _explained(batch_size: int, key: str, detail: str) -> OutOfMemory:
    first_line = detail.strip().splitlines()[0] if detail.strip() else "no detail given"
    hint = (
        f"Try --set {key}={batch_size // 2}."
        if batch_size > 1
        else "The network itself does not fit this device."
    )
    return OutOfMemory(f"out of memory at {key} {batch_size}: {first_line}", hint)
