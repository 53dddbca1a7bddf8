"""Devices and precisions: available, or refused with the reason; and switches that go back."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
import torch

from mnist_cli.config.choices import PRECISIONS
from mnist_cli.devices import device as devices
from mnist_cli.devices.device import (
    Precision,
    compute_settings,
    cpu_features,
    cpu_name,
    resolve_device,
    resolve_precision,
)
from mnist_cli.errors import Caution, DeviceError
from mnist_cli.gpu import nvidia, probe
from mnist_cli.gpu.nvidia import Card, Driver

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


class Machine:
    """Sets what torch and the system say of the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._set = monkeypatch.setattr
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def cuda(
        self,
        available: bool = True,
        version: str | None = "13.0",
        hip: str | None = None,
        count: int = 1,
        capability: tuple[int, int] = (9, 0),
        answer: str = "",
        kernel: str = "",
        driver: Driver | None = None,
    ) -> None:
        def init() -> None:
            if answer:
                raise RuntimeError(answer)

        self._set(torch.version, "cuda", version)
        self._set(torch.version, "hip", hip)
        self._set(torch.cuda, "is_available", lambda: available)
        self._set(torch.cuda, "device_count", lambda: count)
        self._set(torch.cuda, "current_device", lambda: count - 1)
        self._set(torch.cuda, "get_device_capability", lambda _device: capability)
        self._set(torch.cuda, "get_device_name", lambda _device=None: "NVIDIA Test")
        self._set(torch.cuda, "init", init)
        self._set(probe, "run", lambda _index: kernel)
        self._set(nvidia, "read_driver", lambda: driver or Driver(cards=0))
        self._set(nvidia, "ask_smi", lambda: ((), "", ""))

    def mps(self, available: bool, built: bool = True) -> None:
        self._set(torch.backends.mps, "is_available", lambda: available)
        self._set(torch.backends.mps, "is_built", lambda: built)

    def cpu(self, *features: str) -> None:
        self._set(devices, "cpu_features", lambda: frozenset(features))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(monkeypatch)
    machine.cuda(available=False)
    machine.mps(False)
    return machine


# --- devices


def test_auto_takes_cuda_then_mps_then_the_cpu(machine: Machine) -> None:
    assert resolve_device("auto") == CPU
    machine.mps(True)
    assert resolve_device("auto") == MPS
    machine.cuda(count=2)
    assert resolve_device("auto") == torch.device("cuda", 1)  # the current one
    assert resolve_device("cpu") == CPU
    assert resolve_device("cuda") == CUDA
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("mps") == MPS
    machine.cuda(version=None, hip="6.2")  # ROCm has CUDA's name
    assert resolve_device("cuda") == CUDA


TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://…"
)
NONE_FOUND = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed "
    "a driver from http://…"
)
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"

REFUSALS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "CPU-only build": (
        *("cuda", {"available": False, "version": None}),
        *("built for the CPU only", "a torch build with CUDA"),
    ),
    "driver too old": (
        *("cuda:3", {"available": False, "answer": TOO_OLD}),
        *("too old for CUDA 13.0", "Update the driver to version 580"),
    ),
    "no kernel runs": ("cuda", {"kernel": BUSY}, "cuda:0 as busy", "nvidia-smi"),
    "one GPU": ("cuda:1", {}, "torch sees only cuda:0", "Use a device in this range"),
    "mps": ("mps", {}, "does not offer MPS", "macOS 14"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_device_that_is_not_available_is_refused_with_a_next_step(
    machine: Machine, case: str
) -> None:
    """tests/gpu has all causes."""
    name, facts, words, step = REFUSALS[case]
    machine.cuda(**facts)
    with pytest.raises(DeviceError, match=f"^device {name} is not available: .*{words}") as caught:
        resolve_device(name)
    assert step in caught.value.hint
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "broken",
    [{"kernel": BUSY}, {"available": False, "answer": TOO_OLD}],
    ids=["busy", "driver too old"],
)
def test_auto_says_why_it_does_not_use_a_gpu(machine: Machine, broken: dict[str, Any]) -> None:
    machine.cuda(**broken)
    with pytest.warns(Caution, match="the GPU is not used, because .*(as busy|too old)"):
        assert resolve_device("auto") == CPU


@pytest.mark.parametrize(
    "answer", [NONE_FOUND, "No CUDA GPUs are available", "Torch not compiled with CUDA enabled"]
)
def test_auto_is_silent_without_a_gpu(machine: Machine, answer: str) -> None:
    compiled = None if "compiled" in answer else "13.0"
    machine.cuda(available=False, version=compiled, answer=answer)
    assert resolve_device("auto") == CPU  # a warning would be an error here


@pytest.mark.parametrize(
    ("hip", "words"), [(None, "built for the CPU only"), ("7.0", "built for ROCm 7.0")]
)
def test_auto_warns_of_a_gpu_that_the_build_cannot_use(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, hip: str | None, words: str
) -> None:
    """The usual case on Windows, where pip installs a CPU build: only nvidia-smi knows the GPU."""
    machine.cuda(available=False, version=None, hip=hip)
    listed = ((Card("NVIDIA GeForce RTX 4090"),), "580.65.06", "")
    monkeypatch.setattr(nvidia, "ask_smi", lambda: listed)
    with pytest.warns(
        Caution, match=f"the GPU is not used, because .*{words}.*torch build with CUDA"
    ):
        assert resolve_device("auto") == CPU
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resolve_device("auto") == CPU  # a warning would be an error here


@pytest.mark.parametrize(
    "name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cpu:0", "cuda:0 "]
)
def test_a_name_that_is_no_device_is_refused(machine: Machine, name: str) -> None:
    machine.cuda()
    with pytest.raises(DeviceError, match="unknown device"):
        resolve_device(name)


# --- precision


def test_auto_is_bf16_where_the_hardware_multiplies_in_it(machine: Machine) -> None:
    for features, name in (
        (("avx2", "avx512f"), "fp32"),
        (("avx512f", "avx512_bf16"), "bf16"),
        (("amx_bf16",), "bf16"),
        ((), "fp32"),
    ):
        machine.cpu(*features)
        assert resolve_precision("auto", CPU).name == name
    for capability, name in (((7, 5), "fp32"), ((8, 0), "bf16"), ((12, 0), "bf16")):
        machine.cuda(capability=capability)
        assert resolve_precision("auto", CUDA).name == name
    assert resolve_precision("auto", MPS).name == "fp32"


def test_a_named_precision_is_used_or_refused(machine: Machine) -> None:
    machine.cpu()
    machine.cuda(capability=(7, 5))
    assert resolve_precision("bf16", CPU).name == "bf16"  # emulated, but what was asked for
    assert resolve_precision("fp16", CUDA).name == "fp16"
    with pytest.raises(DeviceError, match="fp16 is not available on the CPU"):
        resolve_precision("fp16", CPU)
    with pytest.raises(DeviceError, match="bf16 is not available on NVIDIA Test"):
        resolve_precision("bf16", CUDA)
    with pytest.raises(DeviceError, match="unknown precision") as caught:
        resolve_precision("fp64", CPU)
    assert all(name in caught.value.hint for name in PRECISIONS)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_products_are_computed_in_the_precision(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name, "cpu")
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert precision.dtype == dtype


# --- the CPU's own facts


@pytest.mark.parametrize(
    ("system", "text", "features", "name"),
    [
        (
            *(
                "Linux",
                "processor : 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu avx2 amx_bf16\n",
            ),
            *({"avx2", "amx_bf16"}, "Some CPU @ 2 GHz"),
        ),
        ("Linux", "processor : 0\nFeatures : fp asimd bf16\n", {"asimd", "bf16"}, ""),
        ("Darwin", "", set(), ""),
    ],
    ids=["x86", "arm", "macOS"],
)
def test_features_and_name_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, system: str, text: str, features: set[str], name: str
) -> None:
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    monkeypatch.setattr("builtins.open", lambda *_a, **_k: io.StringIO(text))
    assert cpu_features() == features
    assert cpu_name() == name or (not name and cpu_name())


# --- switches


def switches() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.mark.parametrize("deterministic", [False, True])
def test_settings_go_back_even_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before, inside = switches(), dict[str, Any]()

    def fail_inside() -> None:
        with compute_settings(CUDA, threads=2, deterministic=deterministic):
            inside.update(switches())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert switches() == before
    assert inside == {
        "threads": 2,
        "matmul": "highest" if deterministic else "high",
        "cudnn": deterministic,
        "benchmark": not deterministic,
        "tf32": not deterministic,
        "deterministic": deterministic,
    }
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic


def test_on_the_cpu_only_threads_are_set() -> None:
    before = switches()
    with compute_settings(CPU, threads=3, deterministic=True):
        assert switches() == {**before, "threads": 3}
    with compute_settings(CPU):
        assert switches() == before
    assert switches() == before
