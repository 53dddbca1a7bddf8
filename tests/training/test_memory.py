"""Running out of memory: one message that names a batch size to try."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mnist_cli.errors import OutOfMemory
from mnist_cli.training.memory import explain_out_of_memory

SIGNS: dict[str, Callable[[], Exception]] = {
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    "CUDA elsewhere": lambda: RuntimeError("CUDA error: out of memory"),
    "CPU": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "Windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
    "cuBLAS": lambda: RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "MPS": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 2 GB)"),
    "Python": MemoryError,
}


def run(error: Exception, batch_size: int = 64, key: str = "batch_size") -> None:
    with explain_out_of_memory(batch_size, key):
        raise error


@pytest.mark.parametrize("sign", SIGNS)
def test_every_way_to_run_out_is_explained(sign: str) -> None:
    with pytest.raises(OutOfMemory) as caught:
        run(SIGNS[sign]())
    assert "batch_size 64" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "Try --set batch_size=32."
    assert caught.value.code == 7


def test_the_key_is_the_one_that_the_work_goes_by() -> None:
    with pytest.raises(OutOfMemory) as caught:
        run(MemoryError("no"), 1001, "eval_batch_size")
    assert caught.value.hint == "Try --set eval_batch_size=500."


def test_a_batch_of_one_cannot_be_made_smaller() -> None:
    with pytest.raises(OutOfMemory, match="does not fit"):
        run(MemoryError(), 1)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(RuntimeError("size mismatch"))
    with pytest.raises(ValueError, match="no"):
        run(ValueError("no"))


def test_a_real_allocation_that_is_far_too_large_is_explained() -> None:
    def allocate() -> None:
        with explain_out_of_memory(8):
            torch.empty(2**46, dtype=torch.float64)  # half a petabyte: no overcommit grants it

    with pytest.raises(OutOfMemory, match="out of memory at batch_size 8"):
        allocate()
