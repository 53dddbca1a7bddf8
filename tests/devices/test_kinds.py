"""What differs between the kinds of devices, with modules that stand in for the ones not here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mnist_cli.devices import kinds
from mnist_cli.devices.device import describe, hardware_name

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 1), torch.device("mps")


@pytest.fixture(params=[CUDA, MPS], ids=str)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device whose module has the functions, and the signatures, of torch's."""
    device: torch.device = request.param
    states = {None: torch.tensor([1]), CUDA: torch.tensor([2])}
    if device == CUDA:
        module = SimpleNamespace(
            get_rng_state=lambda device: states[device],
            set_rng_state=lambda state, device: states.update({device: state}),
            max_memory_allocated=lambda device: {CUDA: 7}[device],
            get_device_name=lambda device: {CUDA: "NVIDIA Test"}[device],
        )
    else:
        module = SimpleNamespace(
            get_rng_state=lambda: states[None],
            set_rng_state=lambda state: states.update({None: state}),
        )
    monkeypatch.setattr(torch, "get_device_module", lambda _device: module)
    monkeypatch.setattr(kinds.torch.accelerator, "synchronize", lambda device: waits.append(device))
    waits.clear()
    return device


waits: list[torch.device] = []


def test_the_random_state_of_the_device_is_read_and_set(device: torch.device) -> None:
    kinds.set_random_state(device, torch.tensor([3]))
    state = kinds.random_state(device)
    assert state is not None
    assert torch.equal(state, torch.tensor([3]))


def test_only_states_that_allow_it_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[list[torch.device], str]] = []
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices, device_type: given.append((devices, device_type))
    )
    for device in (CPU, CUDA, MPS):
        kinds.random_state_kept(device)
    assert given == [([], "cuda"), ([CUDA], "cuda"), ([], "cuda")]


def test_names_memory_and_waiting(device: torch.device) -> None:
    assert kinds.peak_memory(device) == (7 if device == CUDA else 0)
    assert describe(device) == ("NVIDIA Test" if device == CUDA else "mps")
    assert hardware_name(device) == ("NVIDIA Test" if device == CUDA else describe(CPU))
    kinds.synchronize(device)
    assert waits == [device]


def test_the_cpu_needs_none_of_it() -> None:
    kinds.synchronize(CPU)
    kinds.empty_cache()
    assert kinds.random_state(CPU) is None
    assert kinds.peak_memory(CPU) == 0


def test_figures_are_summed_in_the_widest_type_that_the_device_has() -> None:
    assert [kinds.sum_dtype(one) for one in (CPU, CUDA, MPS)] == [
        *(torch.float64, torch.float64, torch.float32)
    ]
    assert [kinds.rate_dtype(one) for one in (CPU, CUDA, MPS)] == [
        *(torch.float64, torch.float32, torch.float32)
    ]
    assert kinds.kind_of(torch.device("xpu")) == kinds.Kind()
