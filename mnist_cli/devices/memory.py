"""Turns a device's "out of memory" into one message that names a batch size that fits.

Also asks for memory beforehand, where a later refusal would crash the process.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from mnist_cli.devices.kinds import empty_cache
from mnist_cli.errors import OutOfMemory

TRAINING, EVALUATION = "batch_size", "eval_batch_size"
"""The configuration's keys for the number of images at once."""

_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",  # CUDA outside torch's allocator, and MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

_ONEDNN = "could not create a primitive"
"""oneDNN's whole message on the CPU under a limit of address space (torch 2.14)."""

SPARE = 1 << 25
"""Bytes left for the libraries below torch: their code, their plans."""


def ask_for_room(count: int = 0) -> None:
    """Check that this process may map ``count`` bytes more, and :data:`SPARE`.

    Under a limit of address space (``ulimit -v``), oneDNN crashes if it is refused a few
    kilobytes: in 9 of 800 tries with little left (torch 2.14). Refused here, they end in a message.

    Raises:
        OutOfMemory: it may not.
    """
    wanted = count + SPARE
    try:
        mmap.mmap(-1, wanted).close()  # takes address space, no memory: nothing is written
    except OSError as error:
        raise OutOfMemory(
            f"out of memory: {wanted >> 20} MiB more are needed ({error.strerror})",
            "Free memory, raise the limit (ulimit -v), or use fewer images at once.",
        ) from error


def address_space() -> int:
    """Bytes of address space that this process uses; 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * mmap.PAGESIZE


def with_room_for_backward(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A forward pass that fails unless the backward pass may take as much memory again.

    For trials of a batch size on the CPU. A backward pass that exhausts a limited address space
    crashes: oneDNN calls a kernel that it failed to allocate. This happened in 8 of 8 tries under
    ``ulimit -v`` on a CPU with AVX-512 bf16 and without AMX, with torch 2.14.

    Raises:
        OutOfMemory: the returned function is called without that room.
    """

    def careful(images: Tensor) -> Tensor:
        before = address_space()
        scores = forward(images)
        ask_for_room(max(address_space() - before, 0))
        return scores

    return careful


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is Python's, torch's or a library's report that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        any(sign in text for sign in _SIGNS) or text.strip() == _ONEDNN
    )


@contextlib.contextmanager
def explain_out_of_memory(
    batch_size: int,
    setting: str = TRAINING,
    rehearse: Callable[[int], object] | None = None,
    multiple: int = 1,
) -> Iterator[None]:
    """Raise :class:`OutOfMemory` for what torch raises when memory runs out inside.

    Args:
        batch_size: the number of images that the work inside takes at once.
        setting: the key or option that sets it; empty if the user cannot set it.
        rehearse: does the work for a number of images, for its memory alone. After the failed
            work is freed, it finds the largest of a half, a quarter and so on that fits with room
            to spare. By default half is named untried.
        multiple: what an untried batch size must be a multiple of.

    Raises:
        OutOfMemory: memory ran out inside.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise explained(error, batch_size, setting, rehearse, multiple) from error


def explained(
    error: BaseException,
    batch_size: int = 0,
    setting: str = "",
    rehearse: Callable[[int], object] | None = None,
    multiple: int = 1,
) -> OutOfMemory:
    """What :func:`explain_out_of_memory` raises for an error of this kind; the same arguments."""
    detail = (str(error).strip().splitlines() or ["no detail given"])[0]
    if not setting:
        hint = "Use fewer images at once, or device cpu."
        return OutOfMemory(f"out of memory: {detail}", hint)
    shortage = OutOfMemory(f"out of memory at {setting} {batch_size}: {detail}")
    if rehearse is None:
        size = batch_size // 2 // multiple * multiple
        shortage.hint = "The network itself does not fit this device."
    else:
        _let_go(error)
        size = _largest(batch_size // 2, rehearse)
        shortage.hint = "No smaller size fits now, not even one image: free some memory."
        shortage.fits = size or None
    if size:
        shortage.hint = f"Set {setting} to {size}{', which fits' if rehearse else ''}."
    return shortage


def _largest(size: int, rehearse: Callable[[int], object]) -> int:
    """The first of ``size``, its half and so on that can be rehearsed; 0 if none can.

    Each size is rehearsed with 1.5 times its number of images. Memory is laid out differently in
    another process: under a tight limit, a size that just fitted here failed there (3 of 35).
    """
    while size:
        try:
            rehearse(size + size // 2)
        except Exception as error:
            if not (isinstance(error, OutOfMemory) or is_out_of_memory(error)):
                raise
            _let_go(error)
            size //= 2
        else:
            return size
    return 0


def _let_go(error: BaseException | None) -> None:
    """Free what the failed work still holds: the frames of its traceback keep its tensors."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
    empty_cache()
