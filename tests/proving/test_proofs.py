"""Each proof of ``mnist doctor --prove`` fails where its fault is injected.

That whole commands pass theirs is for ``tests/commands/test_doctor_prove.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from injected import failed
from torch import Tensor

from mnist_cli.errors import UsageError
from mnist_cli.networks import registry as models
from mnist_cli.proving import (
    arithmetic,
    preset_gradients,
    training_steps,
)
from mnist_cli.proving.claims import Subject
from mnist_cli.proving.recorded_steps import RecordingCapturer
from mnist_cli.training import graphed, guard, muon, step

CPU = torch.device("cpu")
CAPTURED = "against steps one by one"


# --- arithmetic


def _spoiled(operation: arithmetic.Operation, dtype: torch.dtype, fault: Any) -> Any:
    """The same operation, with a fault in one type alone."""

    def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        results = operation.compute(a, b)
        return tuple(map(fault, results)) if a.dtype == dtype else results

    return dataclasses.replace(operation, compute=compute)


@pytest.mark.parametrize("operation", arithmetic.OPERATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("kind", [arithmetic.FP32, arithmetic.BF16], ids=lambda one: one.name)
def test_arithmetic_holds_and_faults_are_found(
    operation: arithmetic.Operation, kind: arithmetic.Arithmetic
) -> None:
    assert arithmetic.measure(operation, kind, CPU).passed
    for fault in (
        lambda found: found * (1 + 64 * kind.unit * operation.terms[-1]),
        lambda found: found * float("nan"),
        lambda found: found.roll(1, -1),
    ):
        assert not arithmetic.measure(_spoiled(operation, kind.dtype, fault), kind, CPU).passed


def test_tf32_does_not_pass_for_fp32() -> None:
    """Operands cut to 11 bits, as a tensor core reads them."""

    def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        if a.dtype == torch.float32:
            a, b = a.half().float(), b.half().float()
        return (a @ b,)

    product = dataclasses.replace(arithmetic.OPERATIONS[0], compute=compute)
    assert not arithmetic.measure(product, arithmetic.FP32, CPU).passed
    assert arithmetic.measure(product, arithmetic.TF32, CPU).passed


def test_sums_in_bf16_do_not_pass() -> None:
    """Each partial sum rounded to bf16: what a device without a wide accumulator does."""

    def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        if a.dtype != torch.bfloat16:
            return (a @ b,)
        total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.bfloat16)
        for i in range(a.shape[1]):
            total += a[:, i, None] * b[None, i]
        return (total,)

    product = dataclasses.replace(arithmetic.OPERATIONS[0], compute=compute)
    row = arithmetic.measure(product, arithmetic.BF16, CPU)
    sound = arithmetic.measure(arithmetic.OPERATIONS[0], arithmetic.BF16, CPU)
    assert row.values["error_roundings"] > 5 * sound.values["error_roundings"]


def test_the_formats_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, names in (((8, 0), "fp32 tf32 bf16 fp16"), ((7, 5), "fp32 fp16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, c=capability: c)
        found = arithmetic.formats(torch.device("cuda", 0))
        assert " ".join(one.name for one in found) == names


# --- gradients


def test_each_presets_gradient_holds(subject: Subject) -> None:
    claims = preset_gradients.claims(subject)
    assert {claim.split()[2] for claim in claims} == {
        *("conv4", "conv4-wide", "oriented", "example", "notebook", "conv2"),
    }
    assert failed(claims) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_wrong_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """A layer of the wrong weight: the last one's gradient is scaled, in one precision alone."""
    sound = F.linear

    def wrong(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        found = sound(images, weight, bias)
        if found.dtype == dtype and found.requires_grad:
            found.register_hook(lambda gradient: gradient * 1.5)
        return found

    monkeypatch.setattr(preset_gradients, "_precisions", _both)
    monkeypatch.setattr(F, "linear", wrong)
    config = preset_gradients.networks()["conv2"]
    row = preset_gradients.measure(config, subject)
    assert row.passed is False
    errors, allowed = row.values["relative_error"], row.values["limit"]
    spoiled = "bf16" if dtype == torch.bfloat16 else "fp32"
    assert {key for key in errors if errors[key] > allowed[key]} == {spoiled}


def _both(device: torch.device) -> Any:
    return [preset_gradients.Precision(name, device.type) for name in ("fp32", "bf16")]


def test_a_loss_that_is_wrong_is_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = models.loss

    def wrong(scores: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        return sound(scores, labels, **settings) * (1.05 if scores.itemsize < 8 else 1)

    monkeypatch.setattr(models, "loss", wrong)
    config = preset_gradients.networks()["conv2"]
    assert preset_gradients.measure(config, subject).passed is False


# --- steps


def test_captured_steps_hold_and_a_rate_that_was_frozen_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed(training_steps.claims(subject), CAPTURED) == []
    monkeypatch.setattr(graphed, "_for_capture", lambda *_: contextlib.nullcontext())
    spoiled = failed(training_steps.claims(subject), CAPTURED)
    assert len(spoiled) == len(training_steps.PRESETS)


def test_steps_that_are_not_captured_are_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on without graphs where capturing fails; the proof must not."""

    class Refusing(RecordingCapturer):
        def capture(self, function: Any, generator: torch.Generator) -> Any:
            raise UsageError("a CUDA graph is not available: not here")

    monkeypatch.setattr(training_steps, "_capturer", lambda _device: Refusing())
    row, *_ = failed(training_steps.claims(subject), CAPTURED)
    assert "not here" in row.figure


@pytest.mark.parametrize("spoilt", [False, True])
def test_rates_in_float32_as_on_cuda(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, spoilt: bool
) -> None:
    """Captured steps read them from memory, the others must round theirs."""
    for module in (graphed, step, muon)[: 1 if spoilt else 3]:
        monkeypatch.setattr(module, "rate_dtype", lambda _device: torch.float32)
    assert bool(failed(training_steps.claims(subject), CAPTURED)) is spoilt


def test_steps_wait_for_nothing_and_a_value_read_back_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed(training_steps.claims(subject), "no wait") == []
    monkeypatch.setattr(training_steps, "DeferredGuard", lambda *_: guard.Guard())
    rows = failed(training_steps.claims(subject), "no wait")
    assert "reads a value back to the host" in rows[0].figure
