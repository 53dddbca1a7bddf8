"""Turns a device's "out of memory" into one message that names a batch size that fits.

And asks for memory beforehand, where to be refused it later would crash the process.
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

TRAINING, EVALUATION = "--set batch_size=", "--set eval_batch_size="
"""How the number of images at once is spelled on the command line, up to the number."""

_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",  # CUDA outside torch's allocator, and MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

_ONEDNN = "could not create a primitive"
"""All that oneDNN says on the CPU, met under a limit of address space (torch 2.14)."""

SPARE = 1 << 25
"""Bytes that the libraries below torch are left for themselves: their code, their plans."""


def ask_for_room(count: int = 0) -> None:
    """Make sure that this process can have ``count`` bytes more, and :data:`SPARE`.

    Where address space is limited (``ulimit -v``), oneDNN does not survive to be refused a few
    kilobytes: of 800 tries with little left, 9 ended in its crash (torch 2.14). Refused here, they
    end in a message.

    Raises:
        OutOfMemory: it cannot.
    """
    wanted = count + SPARE
    try:
        mmap.mmap(-1, wanted).close()  # address space, no memory: nothing is written
    except OSError as error:
        raise OutOfMemory(
            f"out of memory: {wanted >> 20} MiB more are needed ({error.strerror})",
            "Free some, raise the limit (ulimit -v), or give it fewer images at once.",
        ) from error


def address_space() -> int:
    """Bytes of address space that this process uses; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * mmap.PAGESIZE


def with_room_for_backward(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A forward pass that fails unless the backward pass may take as much memory again.

    For trials of a batch size on the CPU. A backward pass that takes the last of a limited address
    space crashes: oneDNN calls a kernel that it could not allocate (8 of 8 tries under
    ``ulimit -v`` on a CPU with AVX-512 bf16 and without AMX, torch 2.14).

    Raises:
        OutOfMemory: when the returned function is called and the room is not there.
    """

    def careful(images: Tensor) -> Tensor:
        before = address_space()
        scores = forward(images)
        ask_for_room(max(address_space() - before, 0))
        return scores

    return careful


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch or one of its libraries says by this that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return any(sign in text for sign in _SIGNS) or text.strip() == _ONEDNN


@contextlib.contextmanager
def explain_out_of_memory(
    batch_size: int,
    option: str = TRAINING,
    rehearse: Callable[[int], object] | None = None,
    multiple: int = 1,
) -> Iterator[None]:
    """Raise :class:`OutOfMemory` for what torch raises when memory runs out inside.

    Args:
        batch_size: what the work inside goes by.
        option: how it is given, up to the number; empty where it cannot be.
        rehearse: does the work for so many images, for its memory alone. Once what failed has
            been let go, it finds the largest of half of them, a quarter and so on that fits
            with room to spare; left out, half is named untried.
        multiple: what a batch size must be a multiple of, where none is tried.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise explained(error, batch_size, option, rehearse, multiple) from error


def explained(
    error: BaseException,
    batch_size: int,
    option: str = "",
    rehearse: Callable[[int], object] | None = None,
    multiple: int = 1,
) -> OutOfMemory:
    """What :func:`explain_out_of_memory` raises for an error that says so."""
    detail = (str(error).strip().splitlines() or ["no detail given"])[0]
    if not option:
        hint = "Give it fewer images at once, or use --device cpu."
        return OutOfMemory(f"out of memory: {detail}", hint)
    size, fits = batch_size // 2 // multiple * multiple, ""
    if rehearse is not None:
        _let_go(error)
        size, fits = _largest(size, rehearse), ", which fits"
    if size:
        hint = f"Try {option}{size}{fits}."
    elif fits:
        hint = "Nothing smaller fits now, down to one image: free some memory."
    else:
        hint = "The network itself does not fit this device."
    label = option.removeprefix("--set ").rstrip("= ")
    shortage = OutOfMemory(f"out of memory at {label} {batch_size}: {detail}", hint)
    shortage.fits = size if size and fits else None
    return shortage


def _largest(size: int, rehearse: Callable[[int], object]) -> int:
    """The first of ``size``, its half and so on that can be rehearsed; 0 if none can.

    With half as many images again as are named: what else takes memory lies otherwise in another
    process, and under a tight limit a size that had just fitted here did not there (3 of 35).
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
