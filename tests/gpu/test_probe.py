"""Asking torch: a product that must be right, time limits, and evidence that is only read if needed."""

from __future__ import annotations

import threading

import pytest
import torch

from mnist_cli.gpu import nvidia, probe
from mnist_cli.gpu.nvidia import Driver
from mnist_cli.gpu.obstacle import Cause


def test_a_right_product_is_no_failure() -> None:
    assert probe.check_product("cpu") == ""


def test_one_wrong_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.Tensor.cpu

    def flipped(tensor: torch.Tensor) -> torch.Tensor:
        result = right(tensor).clone()
        result[3, 5] += 1
        return result

    monkeypatch.setattr(torch.Tensor, "cpu", flipped)
    assert probe.check_product("cpu") == "wrong result: 1 of 16,384 entries of a matrix product"


def test_a_device_that_raises_is_reported_by_its_first_line() -> None:
    answer = probe.check_product("cuda:99")
    assert answer
    assert "\n" not in answer
    assert "\n" not in (probe.run(99) or "no")


def test_what_takes_too_long_is_given_up() -> None:
    held = threading.Event()

    def hang() -> str:
        held.wait()
        return ""

    assert probe.within(0.05, hang) == "no answer within 0 s"
    held.set()
    assert probe.within(60, lambda: "done") == "done"


@pytest.mark.parametrize(
    ("built", "available", "answer", "cause"),
    [
        (False, False, "", Cause.MPS_NOT_BUILT),
        (True, False, "", Cause.MPS_NOT_AVAILABLE),
        (True, True, "MPS backend out of memory", Cause.MPS_FAILED),
        (True, True, "", None),
    ],
)
def test_mps(
    monkeypatch: pytest.MonkeyPatch,
    built: bool,
    available: bool,
    answer: str,
    cause: Cause | None,
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: built)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    monkeypatch.setattr(probe, "check_product", lambda _device: answer)
    obstacle = probe.mps_obstacle(product=True)
    assert (obstacle.cause if obstacle else None) == cause


def test_a_gpu_that_works_needs_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted() -> Driver:
        raise AssertionError("nvidia-smi takes a second")

    monkeypatch.setattr(nvidia, "read_driver", unwanted)
    monkeypatch.setattr(probe, "cuda_count", lambda: 1)
    monkeypatch.setattr(probe, "run", lambda _index: "")
    assert probe.cuda_obstacle(0) is None


def test_the_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(probe, "cuda_count", lambda: 0)
    monkeypatch.setattr(probe, "start", lambda: "No CUDA GPUs are available")
    monkeypatch.setattr(probe, "build", lambda: probe.Build("2.14.1+cu130", cuda="13.0"))
    obstacle = probe.cuda_obstacle(driver=Driver("580.65.06", nodes=("/dev/nvidia0",)))
    assert obstacle is not None
    assert obstacle.cause is Cause.HIDDEN


def test_architectures_are_known_without_a_gpu() -> None:
    if torch.version.cuda is None:
        assert probe.architectures() == ()
    else:
        assert any(arch.startswith("sm_") for arch in probe.architectures())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_real_gpu_kernels_run() -> None:
    for index in range(torch.cuda.device_count()):
        assert probe.cuda_obstacle(index, product=True) is None
    beyond = probe.cuda_obstacle(torch.cuda.device_count())
    assert beyond is not None
    assert beyond.cause is Cause.NO_SUCH_GPU
