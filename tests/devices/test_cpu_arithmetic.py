"""The fingerprint of a CPU's arithmetic: the same for the same bits, another for others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mnist_cli.devices.cpu_arithmetic import fingerprint

PRINT = "import torch; from mnist_cli.devices.cpu_arithmetic import fingerprint as f; print(f({}))"


def test_it_does_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.add(fingerprint(torch.bfloat16))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert len(found) == 1


def test_a_default_device_does_not_change_it() -> None:
    before = fingerprint(torch.float32)
    with torch.device("meta"):
        assert fingerprint(torch.float32) == before


def test_a_last_bit_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(torch.float32)
    softmax = torch.Tensor.softmax

    def nudged(self: torch.Tensor, dim: int) -> torch.Tensor:
        out = softmax(self, dim)
        out[0, 0] = out[0, 0].nextafter(torch.tensor(2.0))
        return out

    monkeypatch.setattr(torch.Tensor, "softmax", nudged)
    assert fingerprint(torch.float32) != before


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="has no vector instructions"
)
def test_other_instructions_change_it_and_another_process_does_not() -> None:
    def printed(**settings: str) -> str:
        command = [sys.executable, "-c", PRINT.format("torch.float32")]
        done = subprocess.run(
            command, env={**os.environ, **settings}, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert printed() == fingerprint(torch.float32)
    assert printed(ATEN_CPU_CAPABILITY="default") != fingerprint(torch.float32)
