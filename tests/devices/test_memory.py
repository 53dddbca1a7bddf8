"""Running out of memory: one message that names a batch size to try."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import FP32, NORMALISATION, split

from mnist_cli.devices.memory import EVALUATION, SPARE, explain_out_of_memory
from mnist_cli.errors import OutOfMemory
from mnist_cli.training.scoring import predict

SIGNS: dict[str, Callable[[], Exception]] = {
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    "CUDA elsewhere": lambda: RuntimeError("CUDA error: out of memory"),
    "CPU": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "Windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
    "cuBLAS": lambda: RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "MPS": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 2 GB)"),
    "oneDNN": lambda: RuntimeError("could not create a primitive"),
    "Python": MemoryError,
}


def run(error: Exception, batch_size: int = 64, **options: Any) -> None:
    with explain_out_of_memory(batch_size, **options):
        raise error


@pytest.mark.parametrize("sign", SIGNS)
def test_every_way_to_run_out_is_explained(sign: str) -> None:
    with pytest.raises(OutOfMemory) as caught:
        run(SIGNS[sign]())
    assert "batch_size 64" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "Set batch_size to 32."
    assert caught.value.code == 7


def too_large(_size: int) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("size", "options", "label", "hint"),
    [
        (1001, {"setting": EVALUATION}, " at eval_batch_size 1001", "Set eval_batch_size to 500."),
        (1001, {"setting": "--batch-size"}, " at --batch-size 1001", "Set --batch-size to 500."),
        (9, {"setting": ""}, "", "Use fewer images at once, or device cpu."),
        (128, {"multiple": 6}, " at batch_size 128", "Set batch_size to 60."),
        (30, {"multiple": 6}, " at batch_size 30", "Set batch_size to 12."),
        (1, {}, " at batch_size 1", "The network itself does not fit this device."),
        (
            *(8, {"rehearse": too_large}, " at batch_size 8"),
            "No smaller size fits now, not even one image: free some memory.",
        ),
    ],
)
def test_the_hint_names_what_the_user_can_set(
    size: int, options: dict[str, Any], label: str, hint: str
) -> None:
    with pytest.raises(OutOfMemory) as caught:
        run(MemoryError("no"), size, **options)
    assert caught.value.message == f"out of memory{label}: no"
    assert caught.value.hint == hint


def test_the_size_that_is_named_has_been_tried_with_room_to_spare() -> None:
    asked = []

    def rehearse(size: int) -> None:
        asked.append(size)
        if size > 12:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(OutOfMemory) as caught:
        run(MemoryError(), 64, rehearse=rehearse)
    assert caught.value.hint == "Set batch_size to 8, which fits."
    assert asked == [48, 24, 12]


def test_what_failed_is_let_go_before_another_size_is_tried() -> None:
    class Large:
        pass

    alive: list[weakref.ref[Large]] = []

    def work() -> None:
        large = Large()
        alive.append(weakref.ref(large))
        raise MemoryError

    def rehearse(_size: int) -> None:
        assert alive[0]() is None

    with (
        pytest.raises(OutOfMemory, match="at batch_size 8"),
        explain_out_of_memory(8, rehearse=rehearse),
    ):
        work()


def test_a_rehearsal_that_fails_otherwise_is_no_size_that_does_not_fit() -> None:
    def rehearse(_size: int) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(MemoryError(), 64, rehearse=rehearse)


def test_a_size_that_fits_is_found_for_an_evaluation() -> None:
    """A network that can take six images at once, asked to take eight."""

    class Narrow(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 6:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return images.flatten(1)[:, :10]

    with pytest.raises(OutOfMemory) as caught:
        predict(Narrow(), split(20), NORMALISATION, batch_size=8, precision=FP32)
    assert caught.value.hint == "Set eval_batch_size to 4, which fits."
    assert len(predict(Narrow(), split(20), NORMALISATION, batch_size=4, precision=FP32)) == 20


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(RuntimeError("size mismatch"))
    with pytest.raises(ValueError, match="no"):
        run(ValueError("no"))
    with pytest.raises(RuntimeError, match="descriptor"):
        run(RuntimeError("could not create a primitive descriptor iterator"))


def test_a_real_allocation_that_is_far_too_large_is_explained() -> None:
    def allocate() -> None:
        with explain_out_of_memory(8):
            torch.empty(2**46, dtype=torch.float64)  # half a petabyte: no overcommit grants it

    with pytest.raises(OutOfMemory, match="out of memory at batch_size 8"):
        allocate()


LIMITED = """
import json, resource, sys
from mnist_cli.errors import OutOfMemory
from mnist_cli.devices.memory import ask_for_room
before = resource.getrlimit(resource.RLIMIT_AS)
for room, wanted in json.loads(sys.argv[1]):
    ask_for_room(wanted)
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        ask_for_room(wanted)
    except OutOfMemory as error:
        print(error.code, error.message)
    else:
        print("granted")
    assert int(open("/proc/self/statm").read().split()[0]) - pages < 1024, "it was kept"
    resource.setrlimit(resource.RLIMIT_AS, before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, and /proc")
def test_room_is_asked_for_before_it_is_needed() -> None:
    cases = [
        (SPARE + (80 << 20), 64 << 20, "granted"),
        (SPARE + (48 << 20), 64 << 20, "7 out of memory: 96 MiB more are needed"),
        (SPARE - (1 << 20), 0, "7 out of memory: 32 MiB more are needed"),
    ]
    words = [sys.executable, "-c", LIMITED, json.dumps([case[:2] for case in cases])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for line, (*_, printed) in zip(done.stdout.splitlines(), cases, strict=True):
        assert line.startswith(printed)
